"""A run on disk: what is saved, what is restored, and the digest that tells two runs apart."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.labels import NO_LABEL
from semppl.layers.networks import OnlineNetwork

_SETTINGS = "hyperparameters.json"


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Writes a small file so that a reader, or a killed run, never sees half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


class NotWritten(Exception):
    """The disk did not take what a run wrote; the message names the folder and what to do."""


@contextlib.contextmanager
def writing_to(workdir: pathlib.Path) -> Iterator[None]:
    """Puts what goes wrong with the disk into one line.

    Raises:
        NotWritten: if something could not be written.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        message = error.strerror if isinstance(error, OSError) else error.message
        reason = str(message).splitlines()[0].rpartition("; ")[2].partition(" [Op:")[0]
        raise NotWritten(
            f"--workdir must have room for the run. Received: {workdir} ({reason}). "
            "What was saved before is sound: make room, and the same command goes on from there."
        ) from error


@contextlib.contextmanager
def open_run(workdir: pathlib.Path, hyperparameters: Hyperparameters) -> Iterator[None]:
    """Starts a run in a folder, or goes on with the one that is there; keeps other processes out meanwhile.

    Raises:
        ValueError: if the folder cannot be written, is in use, or holds a run with other hyper-parameters, naming the flags
            that differ.
        NotWritten: if the disk is full.
    """
    if workdir.parts and workdir.parts[0].endswith(":"):  # of gs://bucket/run, for which a local folder would be made
        raise ValueError(f"--workdir must be a folder of this machine's, mounted or its own. Received: {workdir}")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise ValueError(
            f"--workdir must be a folder that can be written. Received: {workdir} ({error.strerror})"
        ) from error
    with _locked(workdir):
        _compare_or_write(workdir, hyperparameters)
        yield


@contextlib.contextmanager
def _locked(workdir: pathlib.Path) -> Iterator[None]:
    """Holds a lock that ends with the process, however it ends."""
    with writing_to(workdir):
        file = (workdir / ".lock").open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"--workdir must be in use by one process only. Received: {workdir}, where another one trains"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):  # a file system without locks
                raise
        yield


def _compare_or_write(workdir: pathlib.Path, hyperparameters: Hyperparameters) -> None:
    if not (workdir / _SETTINGS).exists():
        _write_settings(workdir, hyperparameters)
        return
    differences = Hyperparameters.load(workdir).differences(hyperparameters)
    if differences:
        told = "; ".join(f"--{name}={there} (there: {here})" for name, (here, there) in sorted(differences.items()))
        raise ValueError(
            f"--workdir must hold a run with the same settings, or none. Received: {workdir}, which differs in {told}"
        )


def record_paths(workdir: pathlib.Path, hyperparameters: Hyperparameters) -> None:
    """Writes the settings again if paths have changed, so that evaluation and export find the data where they lie now.

    Args:
        workdir: Folder of the run, opened, whose data are those that the run began with.
        hyperparameters: Settings that differ from the run's in paths at most.

    Raises:
        NotWritten: If the disk is full.
    """
    if Hyperparameters.load(workdir) != hyperparameters:
        _write_settings(workdir, hyperparameters)


def _write_settings(workdir: pathlib.Path, hyperparameters: Hyperparameters) -> None:
    with writing_to(workdir):
        write_atomically(workdir / _SETTINGS, hyperparameters.to_json())


def describe_data(names: Sequence[str], labels: np.ndarray) -> dict[str, int | str]:
    """Says what a run is trained on: how many images and labels, and a digest of which.

    Args:
        names: of the training images; empty where they have none.
        labels: `[n]` as the run sees them.
    """
    digest = hashlib.sha256(np.asarray(labels, np.int32).tobytes())
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
    labelled = int((labels != NO_LABEL).sum())
    return {"images": len(labels), "labelled": labelled, "names_and_labels_sha256": digest.hexdigest()}


def require_same_data(workdir: pathlib.Path, data: dict[str, int | str], *, begun: bool) -> None:
    """Keeps what a run is trained on in `data.json`, and lets it go on with that only.

    Args:
        workdir: of the run, opened.
        data: as `describe_data` does.
        begun: whether there is a checkpoint.

    Raises:
        ValueError: if it began with other images or labels.
        NotWritten: if the disk is full.
    """
    path = workdir / "data.json"
    if begun and path.exists():
        then = json.loads(path.read_text())
        if then != data:
            counts = " where there were ".join(
                f"{told['images']} images, {told['labelled']} labelled," for told in (data, then)
            )
            raise ValueError(
                f"--data must be the images and labels that the run began with: put them back, or start with a new --workdir. "
                f"Received: {counts} or other ones"
            )
        return
    with writing_to(workdir):
        write_atomically(path, json.dumps(data, indent=2) + "\n")


class RunCheckpoints:
    """Saves and restores a model with its optimiser, and so the step and the position in the data.

    Args:
        model: built and compiled, its optimiser built too.
        workdir: of the run.
    """

    def __init__(self, model: tf.keras.Model, workdir: pathlib.Path) -> None:
        self.model = model
        self.workdir = workdir
        self.checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        self.checkpoint.save_counter.assign(
            0
        )  # makes it here: in the strategy's scope, workers would have to make it together
        self.manager = tf.train.CheckpointManager(
            self.checkpoint, str(workdir / "checkpoints"), max_to_keep=2, checkpoint_name="step"
        )

    @property
    def step(self) -> int:
        """Steps that the model has taken."""
        return int(self.model.optimizer.iterations.numpy())  # a mirrored variable is no int

    def restore(self) -> int:
        """Removes what a killed save left, and then is `read`: for the one process that also saves."""
        self._remove_halves()
        return self.read()

    def read(self) -> int:
        """Restores the latest checkpoint, if any; returns the step to go on with.

        Raises:
            ValueError: if the checkpoint cannot be read.
        """
        latest = self.manager.latest_checkpoint
        if latest:
            with _reading(latest):
                self.checkpoint.restore(latest).assert_consumed()
        return self.step

    def save(self) -> str:
        """Saves the state after the latest step; returns the checkpoint's path.

        Raises:
            NotWritten: if it could not be saved; the checkpoint before it is as it was.
        """
        step = self.step
        try:
            with writing_to(self.workdir):
                path: str = self.manager.save(checkpoint_number=step)
        except NotWritten:
            self._remove_halves(f"step-{step}.*")
            raise
        return path

    def _remove_halves(self, *patterns: str) -> None:
        """Removes what a save that did not end has left."""
        folder = self.workdir / "checkpoints"
        for path in [path for pattern in ("*_temp", "*.tmp*", *patterns) for path in folder.glob(pattern)]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"--workdir must hold a checkpoint that this release can read. Received: {path} ({reason})"
        ) from error


def latest_checkpoint(workdir: str | pathlib.Path) -> str:
    """Returns the path of the latest checkpoint.

    Raises:
        ValueError: if there is none.
    """
    latest = tf.train.latest_checkpoint(str(pathlib.Path(workdir) / "checkpoints"))
    if latest is None:
        raise ValueError(f"--workdir must hold a checkpoint. Received: {workdir}, which has none")
    return str(latest)


def load_online(workdir: str | pathlib.Path) -> tuple[Hyperparameters, OnlineNetwork, int]:
    """Reads the online network of a run.

    Returns:
        The run's hyper-parameters, the network at its latest checkpoint, and the step.

    Raises:
        ValueError: if there is no run, or no checkpoint that can be read.
    """
    hyperparameters = Hyperparameters.load(workdir)
    path = latest_checkpoint(workdir)
    network = OnlineNetwork(**hyperparameters.network, name="online")
    network.build([None, hyperparameters.large_size, hyperparameters.large_size, hyperparameters.channels])
    with _reading(path):
        restored = tf.train.Checkpoint(model=tf.train.Checkpoint(online=network)).restore(path)
        restored.expect_partial().assert_existing_objects_matched()
    return hyperparameters, network, int(path.rpartition("-")[2])


def load_classifier(workdir: str | pathlib.Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Reads a run's linear classifier: kernel `[F, C]` and bias `[C]`; None where the method trains none."""
    reader = tf.train.load_checkpoint(latest_checkpoint(workdir))
    names = [f"model/classifier/{part}/.ATTRIBUTES/VARIABLE_VALUE" for part in ("kernel", "bias")]
    if not all(reader.has_tensor(name) for name in names):
        return None
    kernel, bias = (reader.get_tensor(name) for name in names)
    return kernel, bias


def has_labelled_queue(workdir: str | pathlib.Path) -> bool:
    """Tells whether a run was trained here with a queue of labelled images: an imported one was not."""
    reader = tf.train.load_checkpoint(latest_checkpoint(workdir))
    return bool(reader.has_tensor("model/queue/labels/.ATTRIBUTES/VARIABLE_VALUE"))


def weights_sha256(path: str) -> str:
    """Digests every variable of a checkpoint: name, type, shape and bytes, in the order of names."""
    reader = tf.train.load_checkpoint(path)
    digest = hashlib.sha256()
    for name in sorted(reader.get_variable_to_shape_map()):
        if name.startswith(("save_counter/", "_CHECKPOINTABLE_OBJECT_GRAPH")):
            continue
        value = np.ascontiguousarray(reader.get_tensor(name))
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def write_done(workdir: pathlib.Path, step: int, checkpoint: str) -> str:
    """Writes `done.json`: the step and the digest of the weights; returns the digest."""
    digest = weights_sha256(checkpoint)
    with writing_to(workdir):
        write_atomically(workdir / "done.json", json.dumps({"step": step, "weights_sha256": digest}, indent=2) + "\n")
    return digest


def read_done(workdir: str | pathlib.Path) -> dict[str, Any]:
    """Reads `done.json` of a finished run."""
    done: dict[str, Any] = json.loads((pathlib.Path(workdir) / "done.json").read_text())
    return done
