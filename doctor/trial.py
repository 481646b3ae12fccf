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
from semppl.configs.objective import OF_METHODS
from semppl.configs.setting import as_arguments
from semppl.configs.wording import counted
from semppl.programs.process.children import Children

_REPORTS = 4
_POLL = 0.01
"""Seconds between looks at the trial's reports."""
_SAMPLE = 10.0
"""Seconds of computing features after which their speed is known."""
_COUNTS = re.compile(r"(\d+)/(\d+) \[.*pictures")


class TrialFailed(Exception):
    """A trial that failed, with the last line of its stderr as the message."""


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of cached views, which a run computes before its first step.

    Attributes:
        found: Number of pictures whose features a cache had before the trial.
        left: Number of the other pictures.
        seconds_per_picture: Time for the features of a picture; 0 if none was computed.
    """

    found: int
    left: int
    seconds_per_picture: float


class ManyFeatures(Exception):
    """A trial that was stopped because it had features of too many pictures to compute.

    Attributes:
        features: Measurements of the features.
    """

    def __init__(self, features: Features) -> None:
        super().__init__(f"features of {counted(features.left, 'picture')} are not cached")
        self.features = features


@dataclasses.dataclass(frozen=True)
class Trial:
    """Measurements of a trial.

    Attributes:
        images_per_second: Images trained on per second, without the first steps, which compile.
        memory_mb: Largest resident memory of the process, in MiB.
        seconds_before_first_report: Time of start, compilation and the first steps, without that of features.
        features: Features that were computed; None if the run needs none, or found all of them in a cache.
    """

    images_per_second: float
    memory_mb: int
    seconds_before_first_report: float
    features: Features | None = None


def train_briefly(hyperparameters: Hyperparameters, steps: int, *, most: int) -> Trial:
    """Trains for `steps`, and measures the time between the lines that the run adds to its `metrics.jsonl`.

    Args:
        hyperparameters: Settings of the run.
        steps: Number of steps; raised to 2 if smaller.
        most: Largest number of pictures whose features are computed.

    Raises:
        ManyFeatures: If the features of more pictures are not cached.
        TrialFailed: If the trial fails.
    """
    short = dataclasses.replace(hyperparameters, steps=max(steps, 2), warmup_steps=0, max_bad_fraction=1.0)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        workdir = pathlib.Path(folder, "trial")
        steps_per_second, before, features = _follow(
            _command(short, workdir, pathlib.Path(folder, "settings.flags")),
            workdir / "metrics.jsonl",
            errors,
            most=most,
        )
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # Linux counts in KiB
    return Trial(float(f"{steps_per_second * short.batch_size:.4g}"), round(memory), round(before, 1), features)


def _command(hyperparameters: Hyperparameters, workdir: pathlib.Path, preset: pathlib.Path) -> list[str]:
    """Returns the command of a trial; a method refuses the settings of others on a command line, but not in a preset."""
    log_every = max(1, hyperparameters.steps // _REPORTS)
    arguments: dict[bool, list[str]] = {True: [], False: []}
    for argument in as_arguments(hyperparameters):
        arguments[argument.partition("=")[0].removeprefix("--") in OF_METHODS].append(argument)
    preset.write_text("\n".join(arguments[True]), encoding="utf-8")
    options = [f"--log_every={log_every}", f"--workdir={workdir}"]
    return [sys.executable, "-m", "semppl.trainers.pretrain", f"--flagfile={preset}", *arguments[False], *options]


def _follow(
    command: list[str], metrics: pathlib.Path, errors: IO[str], *, most: int
) -> tuple[float, float, Features | None]:
    """Runs a trial.

    Returns:
        The steps per second between the first and the last line of its metrics; the seconds before the first, without those of
        features; and the features, if any were computed.

    Raises:
        ManyFeatures: If the features of more than `most` pictures are not cached.
        TrialFailed: If the trial fails.
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
            bar.show(now)
            if bar.features and bar.features.left > most and bar.seconds > _SAMPLE:
                bar.leave()
                raise ManyFeatures(bar.features)
            if running:
                time.sleep(_POLL)
    bar.leave()
    if trial.returncode or len(lines) < 2:
        errors.seek(0)
        reason = errors.read().strip().splitlines()[-1:] or ["too few reports to measure the speed"]
        raise TrialFailed(reason[0].removeprefix("error: "))
    return (lines[-1] - lines[0]) / (ended - started), started - begun - bar.seconds, bar.features


class _Bar:
    """Shows and measures the progress bar, of features, that a trial writes among its errors.

    Args:
        errors: File of the trial's stderr.

    Attributes:
        features: What the bar counts; None before there is a bar.
        seconds: Time between the first and the latest state of the bar.
    """

    def __init__(self, errors: IO[str]) -> None:
        self.features: Features | None = None
        self.seconds = 0.0
        self._errors = errors.fileno()
        self._read = 0
        self._begun = 0.0

    def show(self, now: float) -> None:
        """Shows the latest state of the bar, if the trial has written one since the last call, at the time `now`."""
        size = os.fstat(self._errors).st_size
        if size == self._read:
            return
        text = os.pread(self._errors, size - self._read, self._read).decode(errors="replace")
        self._read = size
        bars = [(part, found) for part in re.split(r"[\r\n]", text) if (found := _COUNTS.search(part))]
        if not bars:
            return
        if self.features is None:
            done, total = map(int, bars[0][1].groups())
            self.features, self._begun = Features(done, total - done, 0.0), now
        self.seconds = now - self._begun
        computed = int(bars[-1][1][1]) - self.features.found
        if computed:
            self.features = dataclasses.replace(self.features, seconds_per_picture=self.seconds / computed)
        print(f"\r{bars[-1][0]}", end="", file=sys.stderr, flush=True)

    def leave(self) -> None:
        """Ends the row of the bar."""
        if self.features:
            print(file=sys.stderr, flush=True)


def _steps(metrics: pathlib.Path) -> list[int]:
    """Returns the steps of the complete lines of a run's metrics; empty before the first report."""
    try:
        lines = metrics.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [int(json.loads(line)["step"]) for line in lines]
