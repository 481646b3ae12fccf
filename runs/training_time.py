"""When a run was trained, by which versions, and on which devices: `processes.jsonl`, a line per start and end of a process."""

import datetime
import importlib.metadata
import json
import pathlib
import platform
from typing import Any

import semppl
from semppl.runs.files import read_json_lines
from semppl.runs.folder import writing_to

_FILE = "processes.jsonl"
_PACKAGES = ("tensorflow", "tf-keras", "keras", "tensorflow-addons", "numpy", "scikit-learn")

Process = dict[str, Any]


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed packages that training and evaluation depend on."""
    found = {"semppl": semppl.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def record_start(workdir: pathlib.Path, step: int, devices: str, now: datetime.datetime) -> None:
    """Writes that a process begins to train.

    Args:
        workdir: Folder of the run.
        step: Number of steps taken before.
        devices: Description of the devices.
        now: The time, with its time zone.

    Raises:
        NotWritten: If the disk is full.
    """
    _append(
        workdir, {"begins": now.isoformat("T", "seconds"), "step": step, "devices": devices, "versions": versions()}
    )


def record_end(workdir: pathlib.Path, step: int, now: datetime.datetime) -> None:
    """Writes that a process has ended its training, after how many steps of the run."""
    _append(workdir, {"ends": now.isoformat("T", "seconds"), "step": step})


def read_processes(workdir: str | pathlib.Path) -> list[Process]:
    """Reads the processes that trained a run, in order; empty for a run of a release that did not record them.

    Returns:
        For each: "begins" and "ends", times in ISO 8601, of which a killed process has no "ends"; "step" and "last_step" (of a
        killed process None); "devices"; "versions"; and "seconds", or None.
    """
    processes: list[Process] = []
    for entry in read_json_lines(pathlib.Path(workdir) / _FILE):
        if "begins" in entry:
            processes.append(entry | {"ends": None, "last_step": None, "seconds": None})
        elif processes:
            begun, ended = (datetime.datetime.fromisoformat(text) for text in (processes[-1]["begins"], entry["ends"]))
            processes[-1] |= {
                "ends": entry["ends"],
                "last_step": entry["step"],
                "seconds": (ended - begun).total_seconds(),
            }
    return processes


def _append(workdir: pathlib.Path, entry: dict[str, Any]) -> None:
    with writing_to(workdir), (workdir / _FILE).open("a", encoding="utf-8") as file:
        file.write("\n" * _ends_in_a_broken_line(workdir / _FILE) + json.dumps(entry) + "\n")


def _ends_in_a_broken_line(path: pathlib.Path) -> bool:
    """Returns whether a kill cut the last line short."""
    content = path.read_bytes()
    return bool(content) and not content.endswith(b"\n")
