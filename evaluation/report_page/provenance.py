"""How a run came about: the command, the versions, the seeds and the time."""

import dataclasses
import pathlib
from typing import Any

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import menu
from semppl.runs.training_time import Process, read_processes, versions


def training_command(workdir: str | pathlib.Path, hyperparameters: Hyperparameters) -> str:
    """Returns a command line that trains a run with the same settings: every setting that differs from its default."""
    changed = {
        field.name: value
        for field in dataclasses.fields(hyperparameters)
        if (value := getattr(hyperparameters, field.name)) != field.default
    }
    flags = [f"--{name}={_value(value)}" for name, value in changed.items()]
    return menu.command("pretrain", f"--workdir={workdir}", *flags)


def provenance_rows(workdir: str | pathlib.Path, hyperparameters: Hyperparameters) -> list[tuple[str, str]]:
    """Returns names and values: seeds, time of training, devices, and versions in training and now."""
    seeds = {name: getattr(hyperparameters, name) for name in ("seed", "split_seed", "label_seed")}
    rows = [("seeds", ", ".join(f"--{name}={value}" for name, value in seeds.items()))]
    processes = read_processes(workdir)
    if processes:
        rows += [("trained", _time(processes)), ("devices", processes[-1]["devices"])]
        rows.append(("versions in training", _versions(processes[-1]["versions"])))
    else:
        rows.append(("trained", "by a release that did not record the time, or elsewhere"))
    return [*rows, ("versions of this report", _versions(versions()))]


def _time(processes: list[Process]) -> str:
    known = [process["seconds"] for process in processes if process["seconds"] is not None]
    killed = len(processes) - len(known)
    begun, ended = processes[0]["begins"], processes[-1]["ends"] or "an unknown time"
    parts = f", in {len(processes)} processes" if len(processes) > 1 else ""
    more = f", beside {killed} of unknown length that did not end by themselves" if killed else ""
    return f"{_duration(sum(known))}{parts}{more}; from {begun} to {ended}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _versions(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
