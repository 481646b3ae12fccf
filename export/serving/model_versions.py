"""Versions of a served model: loads the newest one, and watches for newer ones."""

import contextlib
import dataclasses
import pathlib
import sys
import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from semppl.export.model.warmup import WARMUP, read_warmup
from semppl.runs.files import require_plain
from semppl.runs.served_models import base_meant

_INTERNAL = "__saved_model_init_op"

AVAILABLE, LOADING, FAILED = "AVAILABLE", "LOADING", "END"


@dataclasses.dataclass(frozen=True)
class Version:
    """A loaded SavedModel.

    Attributes:
        number: Version number, the name of the folder.
        functions: Function per signature, from named input arrays to output arrays by name.
        signatures: Definition of each signature: names, types and shapes of inputs and outputs.
    """

    number: int
    functions: dict[str, Callable[..., dict[str, np.ndarray]]]
    signatures: dict[str, meta_graph_pb2.SignatureDef]

    @classmethod
    def load(cls, folder: pathlib.Path) -> "Version":
        """Loads a version's folder, and runs its warm-up requests, so that no client waits for one-time work.

        The model runs in a session, as in TensorFlow Serving: each eager call of a function would leak a few bytes.
        """
        with tf.Graph().as_default() as graph:
            session = tf.compat.v1.Session(graph=graph)  # held by the functions, and closed with the last of them
            file = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(folder))
            signatures = {name: value for name, value in file.signature_def.items() if name != _INTERNAL}
            functions = {name: _function(session, signature) for name, signature in signatures.items()}
        if (folder / WARMUP).is_file():
            for name, inputs in read_warmup(folder):
                functions[name](**inputs)
        return cls(int(folder.name), functions, signatures)


class ModelVersions:
    """Loads the version with the largest number; releases the older version once a newer one is loaded.

    Args:
        name: Name of the model.
        base: Folder with the versions.

    Raises:
        ValueError: if no version can be loaded.
    """

    def __init__(self, name: str, base: pathlib.Path) -> None:
        require_plain(base, "model_base_path")
        self.name = name
        self.base = base
        self.current: Version | None = None
        self.states: dict[int, tuple[str, str]] = {}
        """State and error message, by version number."""
        self._failed: dict[int, set[tuple[str, int, int]]] = {}
        self._stop = threading.Event()
        self.look()
        if self.current is None:
            raise ValueError(
                f"--model_base_path must be a folder with a version, a number, that can be loaded. Received: {base}{self._why()}"
                + base_meant(base)
            )

    def look(self) -> None:
        """Loads the newest loadable version, unless loaded; retries a failed version after a change of its files."""
        folders = {int(path.name): path for path in self._folders()}
        for number in sorted(folders, reverse=True):
            if self.states.get(number) == (AVAILABLE, ""):
                return
            files = _files(folders[number])
            if self._failed.get(number) == files:
                continue
            self.states[number] = (LOADING, "")
            try:
                self.current = Version.load(folders[number])
            except Exception as error:  # any error of a version leaves the previous one in service
                self._failed[number] = files
                self.states[number] = (FAILED, (str(error).splitlines() or [type(error).__name__])[0])
                print(f"version {number} of {self.name} cannot be loaded: {self.states[number][1]}", file=sys.stderr)
                continue
            self.states = {other: state for other, state in self.states.items() if state[0] == FAILED}
            self.states[number] = (AVAILABLE, "")
            print(f"serving version {number} of {self.name}", file=sys.stderr, flush=True)
            return

    def watch(self, seconds: float) -> threading.Thread:
        """Checks for newer versions at an interval in seconds, until `stop`; never, if the interval is not positive."""

        def look_on() -> None:
            while seconds > 0 and not self._stop.wait(seconds):
                try:
                    self.look()
                except OSError as error:  # of a temporarily unavailable file system
                    print(f"{self.base} cannot be looked at: {error}", file=sys.stderr, flush=True)

        thread = threading.Thread(target=look_on, name="versions", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Ends `watch`."""
        self._stop.set()

    def _folders(self) -> list[pathlib.Path]:
        if not self.base.is_dir():
            return []
        return [path for path in self.base.iterdir() if path.name.isdecimal() and path.is_dir()]

    def _why(self) -> str:
        return "".join(f" (version {number}: {message})" for number, (_, message) in self.states.items())


def _files(folder: pathlib.Path) -> set[tuple[str, int, int]]:
    """Lists the files of a folder: path, size and time of the last change."""
    found = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # a file may be deleted in the meantime
            stat = path.stat()
            found.add((str(path), stat.st_size, stat.st_mtime_ns))
    return found


def _function(
    session: tf.compat.v1.Session, signature: meta_graph_pb2.SignatureDef
) -> Callable[..., dict[str, np.ndarray]]:
    """Returns a function from a signature's named inputs to its outputs by name."""
    outputs = list(signature.outputs)
    run = session.make_callable(
        [signature.outputs[name].name for name in outputs], [spec.name for spec in signature.inputs.values()]
    )
    return lambda **inputs: dict(zip(outputs, run(*(inputs[name] for name in signature.inputs)), strict=True))


def input_dtypes(signature: meta_graph_pb2.SignatureDef) -> dict[str, np.dtype]:
    """Returns the type of each input by name; object for strings."""
    return {name: np.dtype(tf.as_dtype(spec.dtype).as_numpy_dtype) for name, spec in signature.inputs.items()}
