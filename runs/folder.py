"""The folder of a run: its settings, its lock, and the mark that it is done."""

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from semppl.configs.hyperparameters import Hyperparameters
from semppl.runs.files import disk_errors_as, locked, make_writable_folder, write_atomically

_LOCK = ".lock"
_SETTINGS = "hyperparameters.json"
_INITIAL_WEIGHTS = "weights.json"
_TRAINED_PARTS = "trained_parts.json"
_FOLLOW_FROM_DATA = frozenset(("labelled_batch_size", "steps", "warmup_steps"))


_HOW_TO_LENGTHEN = (
    "; to train longer, start a new run from the encoder of this one: --initial_run={} with another --workdir"
)


class NotWritten(Exception):
    """A run's folder could not be written; the message names it and the remedy."""


def writing_to(workdir: pathlib.Path) -> contextlib.AbstractContextManager[None]:
    """Reports errors of the disk in one line.

    Args:
        workdir: Folder of the run.

    Raises:
        NotWritten: If a file cannot be written.
    """
    return disk_errors_as(
        lambda reason: NotWritten(
            f"--workdir must have room for the run. Received: {workdir} ({reason}). "
            "Earlier checkpoints are intact: make room, and the same command goes on from there."
        )
    )


@contextlib.contextmanager
def open_run(
    workdir: pathlib.Path, hyperparameters: Hyperparameters, *, check_data: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Starts a run in a folder, or resumes the one that is there; keeps other processes out meanwhile.

    Args:
        workdir: Folder of the run, made if it is absent.
        hyperparameters: Settings of the run.
        check_data: Function that raises if the data are not those that the run began with; called before an error about
            settings that follow from the data, so that the error is about the data.

    Raises:
        ValueError: If the folder cannot be written, is in use, or holds a run with other hyper-parameters, naming the flags
            that differ.
        NotWritten: If the disk is full.
    """
    if workdir.parts and workdir.parts[0].endswith(":"):  # of gs://bucket/run, for which a local folder would be made
        raise ValueError(f"--workdir must be a local or mounted folder. Received: {workdir}")
    make_writable_folder(workdir, "workdir")
    with held(workdir):
        _compare_or_write(workdir, hyperparameters, check_data)
        yield


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
    """Keeps other processes out of a folder.

    Raises:
        ValueError: If another process trains there.
        NotWritten: If the disk is full.
    """
    lock = workdir / _LOCK
    with writing_to(workdir):
        lock.touch()
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(lock, wait=False))
        except BlockingIOError:
            raise ValueError(
                f"--workdir must be in use by one process only. Received: {workdir}, where another one trains"
            ) from None
        yield


def read_settings(workdir: pathlib.Path) -> Hyperparameters | None:
    """Reads the settings of the run in a folder; None if the folder holds no run."""
    return Hyperparameters.load(workdir) if (workdir / _SETTINGS).is_file() else None


def wait_until_free(workdir: pathlib.Path, seconds: float) -> None:
    """Waits until no process trains in a folder, for at most `seconds`: a stopped training may still save its state."""
    deadline = time.monotonic() + seconds
    while (workdir / _LOCK).is_file() and time.monotonic() < deadline:
        try:
            with locked(workdir / _LOCK, wait=False):
                return
        except BlockingIOError:
            time.sleep(0.1)


def _compare_or_write(workdir: pathlib.Path, hyperparameters: Hyperparameters, check_data: Callable[[], None]) -> None:
    former = read_settings(workdir)
    if former is None:
        _write_settings(workdir, hyperparameters)
        return
    differences = former.differences(hyperparameters)
    if differences:
        if _FOLLOW_FROM_DATA.issuperset(differences):
            check_data()
        listed = "; ".join(f"--{name}={there} (there: {here})" for name, (here, there) in sorted(differences.items()))
        raise ValueError(
            f"--workdir must hold a run with the same settings, or none. Received: {workdir}, which differs in {listed}"
            + (_HOW_TO_LENGTHEN.format(workdir) if {"steps", "epochs"} & set(differences) else "")
        )


def record_paths(workdir: pathlib.Path, hyperparameters: Hyperparameters) -> str:
    """Writes the settings again if paths have changed, so that evaluation and export find the data where they lie now.

    Args:
        workdir: Folder of the run, opened, whose data are those that the run began with.
        hyperparameters: Settings that differ from the run's in paths at most.

    Returns:
        The former `data`, if it has changed; else an empty text.

    Raises:
        NotWritten: If the disk is full.
    """
    before = Hyperparameters.load(workdir)
    if before != hyperparameters:
        _write_settings(workdir, hyperparameters)
    return before.data if before.data != hyperparameters.data else ""


def _write_settings(workdir: pathlib.Path, hyperparameters: Hyperparameters) -> None:
    with writing_to(workdir):
        write_atomically(workdir / _SETTINGS, hyperparameters.to_json())


def write_record(workdir: pathlib.Path, name: str, record: Mapping[str, Any]) -> None:
    """Writes a record as JSON to a file of a run's folder.

    Raises:
        NotWritten: If the disk is full.
    """
    with writing_to(workdir):
        write_atomically(workdir / name, json.dumps(record, indent=2) + "\n")


def read_record(workdir: str | pathlib.Path, name: str) -> dict[str, Any] | None:
    """Reads a record that `write_record` wrote; None without such a file."""
    path = pathlib.Path(workdir) / name
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def write_initial_weights(workdir: pathlib.Path, description: dict[str, Any]) -> None:
    """Writes where the initial weights of a run come from to `weights.json`.

    Args:
        workdir: Folder of the run.
        description: Source, digest and licence.

    Raises:
        NotWritten: If the disk is full.
    """
    write_record(workdir, _INITIAL_WEIGHTS, description)


def read_initial_weights(workdir: str | pathlib.Path) -> dict[str, Any] | None:
    """Reads where the initial weights of a run come from; None for random weights."""
    return read_record(workdir, _INITIAL_WEIGHTS)


def write_trained_parts(workdir: pathlib.Path, parts: Sequence[str]) -> None:
    """Writes the names of the parts that a run trains, such as "encoder" and "projector", to `trained_parts.json`.

    A file that has them already is left as it is.

    Raises:
        NotWritten: If the disk is full.
    """
    if read_trained_parts(workdir) == tuple(parts):
        return
    with writing_to(workdir):
        write_atomically(workdir / _TRAINED_PARTS, json.dumps(list(parts)) + "\n")


def read_trained_parts(workdir: str | pathlib.Path) -> tuple[str, ...] | None:
    """Reads the names of the parts that a run trains; None for an imported run, or one of an older release."""
    path = pathlib.Path(workdir) / _TRAINED_PARTS
    return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def write_done(workdir: pathlib.Path, step: int, weights_sha256: str) -> None:
    """Writes `done.json`.

    Args:
        workdir: Folder of the run.
        step: Last step.
        weights_sha256: Digest of the weights after it.

    Raises:
        NotWritten: If the disk is full.
    """
    write_record(workdir, "done.json", {"step": step, "weights_sha256": weights_sha256})


def read_done(workdir: str | pathlib.Path) -> dict[str, Any]:
    """Reads `done.json` of a finished run."""
    done: dict[str, Any] = json.loads((pathlib.Path(workdir) / "done.json").read_text(encoding="utf-8"))
    return done


def unfinished(workdir: str | pathlib.Path, step: int, steps: int) -> str:
    """Says in words that a run was not trained to its last step; empty for a finished or an imported run.

    Args:
        workdir: Folder of the run.
        step: Step of the latest checkpoint.
        steps: Number of steps of the whole run.
    """
    trained_here = (pathlib.Path(workdir) / "data.json").is_file()
    return f"step {step:,} of {steps:,}, unfinished" if trained_here and step < steps else ""


def events_folder(workdir: pathlib.Path) -> pathlib.Path:
    """Returns the folder of TensorBoard's events, which has the name of the run: so TensorBoard calls the run."""
    return workdir / "tensorboard" / workdir.absolute().name
