"""A profile of a few steps, for TensorBoard."""

import pathlib
from typing import Any

import tensorflow as tf

from semppl.runs.folder import events_folder


def parse_steps(text: str, last_step: int) -> tuple[int, int] | None:
    """Reads `--profile_steps`.

    Args:
        text: `FIRST,LAST`, both included, the run's first step being 1; empty for no profile.
        last_step: Last step of the run.

    Returns:
        The first and the last step, or None for no profile.

    Raises:
        ValueError: If the text is malformed or names steps that the run does not have.
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
    """Profiles the devices and the input pipeline; a run resumed after the profiled steps records nothing.

    Args:
        workdir: Folder of the run; the profile is written to its TensorBoard folder.
        first: First step of the profile.
        last: Last step of the profile; a group of steps is profiled whole.
        steps_at_once: Steps per call of the training function.
    """

    def __init__(self, workdir: pathlib.Path, first: int, last: int, *, steps_at_once: int = 1) -> None:
        super().__init__()
        self._folder = events_folder(workdir)
        self._first = first
        self._last = last
        self._steps_at_once = steps_at_once
        self._running = False

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the profile before its first step."""
        taken = self._steps_taken()
        if not self._running and self._first <= taken + self._steps_at_once and taken < self._last:
            tf.profiler.experimental.start(str(self._folder))
            self._running = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends and writes the profile after its last step."""
        if self._steps_taken() >= self._last:
            self.end()

    def end(self) -> None:
        """Ends and writes the profile, if one has started."""
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()

    def _steps_taken(self) -> int:
        return int(self.model.optimizer.iterations.numpy())  # a mirrored variable is no int
