"""Progress of a run: a bar on a terminal, a line every ten seconds in a file."""

import os
import shutil
import sys
import time
import types
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import tensorflow as tf

from semppl.trainers.reports.monitors import meaningful

_NAMES = types.MappingProxyType(
    {
        "loss": "loss",
        "contrastive_augmentation": "L_aug",
        "contrastive_semantic": "L_sem",
        "invariance_augmentation": "I_aug",
        "invariance_semantic": "I_sem",
        "pseudo_label_coverage": "pseudo_labelled",
        "pseudo_label_accuracy": "pseudo_acc",
        "train_accuracy": "train_acc",
    }
)
_BAR = 24


class Progress(tf.keras.callbacks.Callback):
    """Shows the step of the whole run, the remaining time, images per second, time lost waiting for data, and loss terms.

    A terminal gets two rows that are redrawn in place, anything else a line at a time.

    Args:
        first_step: Step at which this process starts.
        last_step: Last step of the run.
        batch_size: Images per step, over all replicas.
        waited: Function that returns the seconds spent waiting for data so far; None if they are not measured.
        stream: Stream to write to; standard output by default.
        clock: Function that returns the time in seconds.
    """

    def __init__(
        self,
        *,
        first_step: int,
        last_step: int,
        batch_size: int,
        waited: Callable[[], float] | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._first_step = first_step
        self._last_step = last_step
        self._batch_size = batch_size
        self._waited = waited
        self._waited_before = 0.0
        self._stream = stream or sys.stdout
        self._clock = clock
        self._on_terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._every = 0.5 if self._on_terminal else 10.0
        self._drawn = False
        self._started_at = self._shown_at = 0.0
        self._started_step = self._shown_step = first_step

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Says that the first step takes longer than the others."""
        print("compiling the first step …", file=self._stream, flush=True)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Shows the step at intervals of time, and always the last one."""
        now, step = self._clock(), self._first_step + batch + 1
        first = self._started_step == self._first_step
        if first:  # mostly compilation
            self._started_at = self._shown_at = now
            self._started_step = self._shown_step = step
            self._share_waiting(1)
        elif now - self._shown_at >= self._every or step == self._last_step:
            elapsed = max(now - self._shown_at, 1e-9)
            rate = f"{(step - self._shown_step) * self._batch_size / elapsed:.4g} images/s"
            rate += self._share_waiting(elapsed)
            seconds_a_step = (now - self._started_at) / (step - self._started_step)
            self._shown_at, self._shown_step = now, step
            self._show(step, seconds_a_step * (self._last_step - step), rate, logs)
        if first and step == self._last_step:
            self._show(step, 0.0, "", logs)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self.leave()
        print(text, file=self._stream, flush=True)

    def leave(self) -> None:
        """Leaves the bar as it is, so that the next output starts on a new row."""
        if self._drawn:
            print(file=self._stream, flush=True)
        self._drawn = False

    def _share_waiting(self, elapsed: float) -> str:
        """Formats the share of the time since the last call that was spent waiting for data; empty if not measured."""
        if self._waited is None:
            return ""
        before, self._waited_before = self._waited_before, self._waited()
        return f", {min((self._waited_before - before) / elapsed, 1):.0%} waiting for data"

    def _show(self, step: int, remaining: float, rate: str, logs: Mapping[str, Any]) -> None:
        where = f"step {step}/{self._last_step}"
        left = f"{duration(remaining)} left"
        numbers = meaningful(logs)
        terms = [f"{shown} {numbers[name]:.4g}" for name, shown in _NAMES.items() if name in numbers]
        if not self._on_terminal:
            print("  ".join(part for part in (where, left, rate, *terms) if part), file=self._stream, flush=True)
            return
        done = _BAR * step // self._last_step
        bar = f"[{'=' * done}{' ' * (_BAR - done)}]"
        columns = shutil.get_terminal_size().columns - 1
        rows = [part[:columns] for part in ("  ".join((where, bar, left, rate)), "  ".join(terms))]
        back = "\x1b[1A\r" if self._drawn else ""
        print(back + "\x1b[K\n".join(rows) + "\x1b[K", end="", file=self._stream, flush=True)
        self._drawn = True


def duration(seconds: float) -> str:
    """Writes seconds as `m:ss` or `h:mm:ss`, rounded up."""
    whole = -int(-seconds // 1)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
