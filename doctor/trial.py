"""A trial of training in a subprocess, to measure time and memory."""

import dataclasses
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time
from typing import IO

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs.process.children import Children

_REPORTS = 4
_POLL = 0.01
"""Seconds between looks at the trial's reports."""


class TrialFailed(Exception):
    """A trial that failed, with the last line of its stderr as the message."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """Measurements of a trial.

    Attributes:
        images_per_second: Images trained on per second, without the first steps, which compile.
        memory_mb: Largest resident memory of the process, in MiB.
        seconds_before_first_report: Time of start, features of cached views, compilation and the first steps.
    """

    images_per_second: float
    memory_mb: int
    seconds_before_first_report: float


def train_briefly(hyperparameters: Hyperparameters, steps: int) -> Trial:
    """Trains for `steps`, and measures the time between the lines that the run adds to its `metrics.jsonl`.

    Args:
        hyperparameters: Settings of the run.
        steps: Number of steps; raised to 2 if smaller.

    Raises:
        TrialFailed: If the trial fails.
    """
    short = dataclasses.replace(hyperparameters, steps=max(steps, 2), warmup_steps=0, max_bad_fraction=1.0)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        workdir = pathlib.Path(folder, "trial")
        steps_per_second, before = _follow(_command(short, workdir), workdir / "metrics.jsonl", errors)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # Linux counts in KiB
    return Trial(float(f"{steps_per_second * short.batch_size:.4g}"), round(memory), round(before, 1))


def _command(hyperparameters: Hyperparameters, workdir: pathlib.Path) -> list[str]:
    settings = dataclasses.asdict(hyperparameters)
    arguments = [f"--{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in settings.items()]
    log_every = max(1, hyperparameters.steps // _REPORTS)
    program = [sys.executable, "-m", "semppl.trainers.pretrain"]
    return [*program, *arguments, f"--log_every={log_every}", f"--workdir={workdir}"]


def _follow(command: list[str], metrics: pathlib.Path, errors: IO[str]) -> tuple[float, float]:
    """Runs a trial.

    Returns:
        The steps per second between the first and the last line of its metrics, and the seconds before the first.
    """
    lines: list[int] = []
    begun = started = ended = time.monotonic()
    bar = _Bar(errors)
    with Children(grace=0) as children:
        trial = children.start(command, stdout=subprocess.DEVNULL, stderr=errors)
        running = True
        while running:
            running = trial.poll() is None
            now, before, lines = time.monotonic(), lines, _steps(metrics)
            if not lines or (not before and len(lines) == 1):
                started = now
            if lines != before:
                ended = now
            bar.show()
            if running:
                time.sleep(_POLL)
    bar.leave()
    if trial.returncode or len(lines) < 2:
        errors.seek(0)
        reason = errors.read().strip().splitlines()[-1:] or ["too few reports to measure the speed"]
        raise TrialFailed(reason[0].removeprefix("error: "))
    return (lines[-1] - lines[0]) / (ended - started), started - begun


class _Bar:
    """Shows the progress bar, of features, that a trial writes among its errors.

    Args:
        errors: File of the trial's stderr.
    """

    def __init__(self, errors: IO[str]) -> None:
        self._errors = errors.fileno()
        self._read = 0
        self._shown = False

    def show(self) -> None:
        """Shows the latest state of the bar, if the trial has written one since the last call."""
        size = os.fstat(self._errors).st_size
        if size == self._read:
            return
        text = os.pread(self._errors, size - self._read, self._read).decode(errors="replace")
        self._read = size
        bars = [part for part in re.split(r"[\r\n]", text) if "pictures/s" in part]
        if bars:
            print(f"\r{bars[-1]}", end="", file=sys.stderr, flush=True)
            self._shown = True

    def leave(self) -> None:
        """Ends the row of the bar."""
        if self._shown:
            print(file=sys.stderr, flush=True)


def _steps(metrics: pathlib.Path) -> list[int]:
    """Returns the steps of the complete lines of a run's metrics; empty before the first report."""
    try:
        lines = metrics.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [int(json.loads(line)["step"]) for line in lines]
