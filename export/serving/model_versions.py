"""Keeps the newest version of a model in memory, and looks for newer ones."""

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

_INTERNAL = "__saved_model_init_op"

AVAILABLE, LOADING, FAILED = "AVAILABLE", "LOADING", "END"


@dataclasses.dataclass(frozen=True)
class Version:
    """A loaded SavedModel.

    Attributes:
        number: its folder's name.
        functions: by signature; of arrays by name.
        signatures: as they stand in the file: names, types and shapes of what goes in and comes out.
    """

    number: int
    functions: dict[str, Callable[..., dict[str, np.ndarray]]]
    signatures: dict[str, meta_graph_pb2.SignatureDef]

    @classmethod
    def load(cls, folder: pathlib.Path) -> "Version":
        """Loads a version's folder, and runs its warm-up requests, so that no client waits for what is done once.

        Into a session, as TensorFlow Serving does; and each eager call of a function leaves some bytes behind for ever.
        """
        with tf.Graph().as_default() as graph:
            session = tf.compat.v1.Session(graph=graph)  # the functions keep it; closed when nobody has them any more
            file = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(folder))
            signatures = {name: value for name, value in file.signature_def.items() if name != _INTERNAL}
            functions = {name: _function(session, signature) for name, signature in signatures.items()}
        if (folder / WARMUP).is_file():
            for name, inputs in read_warmup(folder):
                functions[name](**inputs)
        return cls(int(folder.name), functions, signatures)


class ModelVersions:
    """Serves the version with the largest number; an older one goes when the newer one is there.

    Args:
        name: of the model.
        base: folder of the versions.

    Raises:
        ValueError: if there is no version that can be loaded.
    """

    def __init__(self, name: str, base: pathlib.Path) -> None:
        self.name = name
        self.base = base
        self.current: Version | None = None
        self.states: dict[int, tuple[str, str]] = {}
        """By number: the state, and an error's message."""
        self._failed: dict[int, set[tuple[str, int, int]]] = {}
        self._stop = threading.Event()
        self.look()
        if self.current is None:
            raise ValueError(
                f"--model_base_path must be a folder with a version, a number, that can be loaded. Received: {base}{self._why()}"
            )

    def look(self) -> None:
        """Loads the newest version that can be, unless it is there; one that failed is tried again when its files have changed."""
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
            except Exception as error:  # whatever is wrong with one version, the one before goes on
                self._failed[number] = files
                self.states[number] = (FAILED, (str(error).splitlines() or [type(error).__name__])[0])
                print(f"version {number} of {self.name} cannot be loaded: {self.states[number][1]}", file=sys.stderr)
                continue
            self.states = {other: state for other, state in self.states.items() if state[0] == FAILED}
            self.states[number] = (AVAILABLE, "")
            print(f"serving version {number} of {self.name}", file=sys.stderr, flush=True)
            return

    def watch(self, seconds: float) -> threading.Thread:
        """Looks for newer versions every so many seconds, until `stop`; never, if that is not positive."""

        def look_on() -> None:
            while seconds > 0 and not self._stop.wait(seconds):
                try:
                    self.look()
                except OSError as error:  # of a file system that is away for a while
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
    """What a folder holds: paths, sizes, and when they were written."""
    found = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it may go meanwhile
            stat = path.stat()
            found.add((str(path), stat.st_size, stat.st_mtime_ns))
    return found


def _function(
    session: tf.compat.v1.Session, signature: meta_graph_pb2.SignatureDef
) -> Callable[..., dict[str, np.ndarray]]:
    """Makes a function of a signature's inputs, by name."""
    outputs = list(signature.outputs)
    run = session.make_callable(
        [signature.outputs[name].name for name in outputs], [spec.name for spec in signature.inputs.values()]
    )
    return lambda **inputs: dict(zip(outputs, run(*(inputs[name] for name in signature.inputs)), strict=True))


def input_dtypes(signature: meta_graph_pb2.SignatureDef) -> dict[str, np.dtype]:
    """Returns the type of each input; object for strings."""
    return {name: np.dtype(tf.as_dtype(spec.dtype).as_numpy_dtype) for name, spec in signature.inputs.items()}
