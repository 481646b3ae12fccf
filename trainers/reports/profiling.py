"""A profile of a few steps, for TensorBoard."""

import pathlib
from typing import Any

import tensorflow as tf


def parse_steps(text: str, last_step: int) -> tuple[int, int] | None:
    """Reads `--profile_steps`.

    Args:
        text: `FIRST,LAST`, both included, the run's first step being 1; empty for no profile.
        last_step: of the run.

    Raises:
        ValueError: if it is anything else.
    """
    if not text:
        return None
    try:
        first, last = (int(part) for part in text.split(","))
    except ValueError:
        first, last = 0, 0
    if not 1 <= first <= last <= last_step:
        raise ValueError(f"--profile_steps must be FIRST,LAST in 1..{last_step}. Received: {text}")
    return first, last


class Profile(tf.keras.callbacks.Callback):
    """Records what the devices and the input pipeline do; nothing where a run goes on behind those steps.

    Args:
        workdir: of the run; the profile goes into its TensorBoard folder.
        first: step at which it starts.
        last: step after which it ends; where several are taken at once, after those.
        steps_at_once: how many are taken at once; those that `first` is among are recorded whole.
    """

    def __init__(self, workdir: pathlib.Path, first: int, last: int, *, steps_at_once: int = 1) -> None:
        super().__init__()
        self._folder = workdir / "tensorboard"
        self._first = first
        self._last = last
        self._steps_at_once = steps_at_once
        self._running = False

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts where it is time to."""
        taken = self._steps_taken()
        if not self._running and self._first <= taken + self._steps_at_once and taken < self._last:
            tf.profiler.experimental.start(str(self._folder))
            self._running = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends, and writes, after the last step."""
        if self._steps_taken() >= self._last:
            self.end()

    def end(self) -> None:
        """Ends and writes what there is, if it has started."""
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()

    def _steps_taken(self) -> int:
        return int(self.model.optimizer.iterations.numpy())  # a mirrored variable is no int
