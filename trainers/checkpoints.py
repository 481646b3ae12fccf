"""A run on disk: what is saved, what is restored, and the digest that tells two runs apart."""

import hashlib
import json
import os
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.networks import OnlineNetwork


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


def open_run(workdir: pathlib.Path, hyperparameters: Hyperparameters) -> None:
    """Starts a run in a folder, or goes on with the one that is there.

    Raises:
        ValueError: if the folder cannot be written, or holds a run with other hyper-parameters, naming the flags that differ.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise ValueError(
            f"--workdir must be a folder that can be written. Received: {workdir} ({error.strerror})"
        ) from error
    path = workdir / "hyperparameters.json"
    if not path.exists():
        write_atomically(path, hyperparameters.to_json())
        return
    differences = Hyperparameters.load(workdir).differences(hyperparameters)
    if differences:
        told = "; ".join(f"--{name}={there} (there: {here})" for name, (here, there) in sorted(differences.items()))
        raise ValueError(
            f"--workdir must hold a run with the same settings, or none. Received: {workdir}, which differs in {told}"
        )


class RunCheckpoints:
    """Saves and restores a model with its optimiser, and so the step and the position in the data.

    Args:
        model: built and compiled, its optimiser built too.
        workdir: of the run.
    """

    def __init__(self, model: tf.keras.Model, workdir: pathlib.Path) -> None:
        self.model = model
        self.checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        self.manager = tf.train.CheckpointManager(
            self.checkpoint, str(workdir / "checkpoints"), max_to_keep=2, checkpoint_name="step"
        )

    def restore(self) -> int:
        """Restores the latest checkpoint, if any; returns the step to go on with."""
        latest = self.manager.latest_checkpoint
        if latest:
            self.checkpoint.restore(latest).assert_consumed()
        return int(self.model.optimizer.iterations)

    def save(self) -> str:
        """Saves the state after the latest step; returns the checkpoint's path."""
        path: str = self.manager.save(checkpoint_number=int(self.model.optimizer.iterations))
        return path


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
        ValueError: if there is no run, or no checkpoint.
    """
    hyperparameters = Hyperparameters.load(workdir)
    path = latest_checkpoint(workdir)
    network = OnlineNetwork(**hyperparameters.network, name="online")
    network.build([None, hyperparameters.large_size, hyperparameters.large_size, hyperparameters.channels])
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
    write_atomically(workdir / "done.json", json.dumps({"step": step, "weights_sha256": digest}, indent=2) + "\n")
    return digest
