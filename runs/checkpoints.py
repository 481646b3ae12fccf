"""Checkpoints of a run: saving, restoring, reading networks, and the digest of the weights."""

import contextlib
import hashlib
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.networks import OnlineNetwork, TargetNetwork
from semppl.runs.files import require_plain
from semppl.runs.folder import NotWritten, read_trained_parts, writing_to


class RunCheckpoints:
    """Saves and restores a model with its optimiser, and so the step and the position in the data.

    Args:
        model: Built and compiled model with a built optimiser.
        workdir: Folder of the run.
    """

    def __init__(self, model: tf.keras.Model, workdir: pathlib.Path) -> None:
        self.model = model
        self.workdir = workdir
        self.checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        # Made here: in the strategy's scope, workers would have to make the counter together.
        self.checkpoint.save_counter.assign(0)
        self.manager = tf.train.CheckpointManager(
            self.checkpoint, str(workdir / "checkpoints"), max_to_keep=2, checkpoint_name="step"
        )

    @property
    def step(self) -> int:
        """Number of steps that the model has taken."""
        return int(self.model.optimizer.iterations.numpy())  # a mirrored variable is no int

    def restore(self) -> int:
        """Removes what a killed save left, then reads; for the one process that also saves."""
        self._remove_partial()
        return self.read()

    def read(self) -> int:
        """Restores the latest checkpoint, if any; returns its step, or 0.

        Raises:
            ValueError: If the checkpoint cannot be read.
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
            self._remove_partial(f"step-{step}.*")
            raise
        return path

    def _remove_partial(self, *patterns: str) -> None:
        """Removes the files of an interrupted save."""
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
        ValueError: If the run has no checkpoint.
    """
    require_plain(workdir, "workdir")
    latest = tf.train.latest_checkpoint(str(pathlib.Path(workdir) / "checkpoints"))
    if latest is None:
        raise ValueError(f"--workdir must hold a checkpoint. Received: {workdir}, which has none")
    return str(latest)


def has_checkpoint(workdir: str | pathlib.Path) -> bool:
    """Returns whether a run has a checkpoint."""
    return tf.train.latest_checkpoint(str(pathlib.Path(workdir) / "checkpoints")) is not None


def load_online(workdir: str | pathlib.Path) -> tuple[Hyperparameters, OnlineNetwork, int]:
    """Reads the online network of a run.

    Returns:
        The run's hyper-parameters, the network at its latest checkpoint, and the step.

    Raises:
        ValueError: If there is no run, or no checkpoint that can be read.
    """
    hyperparameters = Hyperparameters.load(workdir)
    path = latest_checkpoint(workdir)
    network = OnlineNetwork(**hyperparameters.network, name="online")
    _restore(network, hyperparameters, path)
    return hyperparameters, network, int(path.rpartition("-")[2])


def load_target(workdir: str | pathlib.Path) -> TargetNetwork | None:
    """Reads the target network of a run's latest checkpoint; None if its method has none.

    Raises:
        ValueError: If there is no run, or no checkpoint that can be read.
    """
    hyperparameters, path = Hyperparameters.load(workdir), latest_checkpoint(workdir)
    if not any(name.startswith("model/target/") for name, _ in tf.train.list_variables(path)):
        return None
    network = TargetNetwork(**hyperparameters.network, name="target")
    _restore(network, hyperparameters, path)
    return network


def _restore(network: TargetNetwork, hyperparameters: Hyperparameters, path: str) -> None:
    """Builds a network and reads its weights from a checkpoint, where it has the network's name."""
    network.build([None, hyperparameters.large_size, hyperparameters.large_size, hyperparameters.channels])
    with _reading(path):
        restored = tf.train.Checkpoint(model=tf.train.Checkpoint(**{network.name: network})).restore(path)
        restored.expect_partial().assert_existing_objects_matched()


def load_classifier(workdir: str | pathlib.Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Reads a run's linear classifier: kernel `[F, C]` and bias `[C]`; None if its method trains no classifier."""
    reader = tf.train.load_checkpoint(latest_checkpoint(workdir))
    names = [f"model/classifier/{part}/.ATTRIBUTES/VARIABLE_VALUE" for part in ("kernel", "bias")]
    if not all(reader.has_tensor(name) for name in names):
        return None
    kernel, bias = (reader.get_tensor(name) for name in names)
    return kernel, bias


def has_labelled_queue(workdir: str | pathlib.Path) -> bool:
    """Returns whether a run was trained with a queue of labelled images; an imported run was not."""
    reader = tf.train.load_checkpoint(latest_checkpoint(workdir))
    return bool(reader.has_tensor("model/queue/labels/.ATTRIBUTES/VARIABLE_VALUE"))


def trains_projector(workdir: str | pathlib.Path) -> bool:
    """Returns whether a run trains its projector; without `trained_parts.json`, whether the run has no classifier."""
    parts = read_trained_parts(workdir)
    return load_classifier(workdir) is None if parts is None else "projector" in parts


def weights_sha256(path: str) -> str:
    """Computes a digest of every variable of a checkpoint: name, type, shape and bytes, in the order of names."""
    reader = tf.train.load_checkpoint(path)
    digest = hashlib.sha256()
    for name in sorted(reader.get_variable_to_shape_map()):
        if name.startswith(("save_counter/", "_CHECKPOINTABLE_OBJECT_GRAPH")):
            continue
        value = np.ascontiguousarray(reader.get_tensor(name))
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
