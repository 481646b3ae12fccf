"""The older run of backward-compatible training: its network, and its record in the folder of the new run."""

import pathlib
from typing import Any

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import renaming_flag, require
from semppl.layers.networks import OnlineNetwork
from semppl.runs import checkpoints, folder

_FILE = "compatible_with.json"
_FLAG = "compatible_with"


def check_compatible_run(hyperparameters: Hyperparameters, workdir: pathlib.Path) -> None:
    """Checks that the run that `--compatible_with` names has projections that this run can be compatible with.

    Args:
        hyperparameters: Hyper-parameters of the run that starts or is resumed.
        workdir: Folder of the run that starts or is resumed.

    Raises:
        ValueError: If there is no older run, the older run has no projections, wider ones or another image size, or its weights
            are no longer those with which this run began; the message names the flag.
    """
    run = hyperparameters.compatible_with
    if not run:
        return
    old, digest = _read(run)
    require(checkpoints.trains_projector(run), _FLAG, "a run with projections", f"{run}, a run of {old.method}")
    for flag in ("large_size", "channels"):
        expected, received = getattr(old, flag), getattr(hyperparameters, flag)
        require(expected == received, flag, f"that of --compatible_with={run}, {expected}", received)
    width = hyperparameters.embedding_width
    wide_enough = f"at least that of --compatible_with={run}, {old.embedding_width}"
    require(width >= old.embedding_width, "embedding_width", wide_enough, width)
    record = read_record(workdir)
    if record is not None and checkpoints.has_checkpoint(workdir):
        began = f"the run with weights {record['weights_sha256'][:12]}, as when {workdir} began"
        require(digest == record["weights_sha256"], _FLAG, began, f"{run}, with weights {digest[:12]}")


def describe_run(run: str) -> dict[str, Any]:
    """Describes the older run for the record: its folder, the digest of its weights and the width of its projections."""
    old, digest = _read(run)
    return {"run": run, "weights_sha256": digest, "embedding_width": old.embedding_width}


def write_record(workdir: pathlib.Path, description: dict[str, Any]) -> None:
    """Writes what `describe_run` returns to `compatible_with.json`.

    Raises:
        NotWritten: If the disk is full.
    """
    folder.write_record(workdir, _FILE, description)


def read_record(workdir: str | pathlib.Path) -> dict[str, Any] | None:
    """Reads the record of the older run; None for a run without one."""
    return folder.read_record(workdir, _FILE)


def load_old_network(run: str) -> tuple[Hyperparameters, OnlineNetwork]:
    """Reads the hyper-parameters and the online network of the older run.

    Raises:
        ValueError: If there is no such run, or no checkpoint that can be read.
    """
    with renaming_flag("workdir", _FLAG):
        old, network, _ = checkpoints.load_online(run)
    return old, network


def _read(run: str) -> tuple[Hyperparameters, str]:
    """Returns the hyper-parameters of a run and the digest of its weights."""
    with renaming_flag("workdir", _FLAG):
        return Hyperparameters.load(run), checkpoints.weights_sha256(checkpoints.latest_checkpoint(run))
