"""What changes with the step: the learning rate and the target's decay."""

import math
from typing import Any

import tensorflow as tf


def target_decay(step: tf.Tensor | int | float, *, base: float, total_steps: int) -> tf.Tensor:
    """Rises from `base` at step 0 to exactly 1 at `total_steps` along half a cosine.

    Args:
        step: the optimiser's steps so far, a number or a tensor of any shape and number type; clipped to `total_steps`.
        base: the decay at step 0, in 0..1.
        total_steps: steps of the whole run; positive.

    Returns:
        The share of the old target that is kept, in `base`..1, with `step`'s shape.

    Raises:
        ValueError: a setting is out of its range.

    Reference: Grill et al. 2020 (BYOL), arXiv 2006.07733, section 3.3.
    """
    if not 0.0 <= base <= 1.0:
        raise ValueError(f"`base` must be in 0..1. Received: base={base}")
    _check_steps(warmup_steps=0, total_steps=total_steps)
    return 1.0 - (1.0 - base) * _half_cosine(tf.cast(step, tf.float32) / total_steps)


def warmup_cosine(step: tf.Tensor | int | float, *, peak: float, warmup_steps: int, total_steps: int) -> tf.Tensor:
    """Rises linearly from 0 to `peak`, then falls to 0 along half a cosine.

    Args:
        step: the optimiser's steps so far, a number or a tensor of any shape and number type; clipped to `total_steps`.
        peak: the value at `warmup_steps`.
        warmup_steps: steps of the linear rise, in 0..total_steps-1; 0 starts at `peak`.
        total_steps: steps of the whole run, warm-up included.

    Returns:
        The learning rate of this step, in 0..`peak`, with `step`'s shape.

    Raises:
        ValueError: a setting is out of its range.

    Reference: Grill et al. 2020 (BYOL), arXiv 2006.07733, section 3.3; Loshchilov & Hutter 2017, arXiv 1608.03983.
    """
    _check_steps(warmup_steps=warmup_steps, total_steps=total_steps)
    step = tf.cast(step, tf.float32)
    rise = peak * step / max(warmup_steps, 1)
    fall = peak * _half_cosine((step - warmup_steps) / (total_steps - warmup_steps))
    return tf.where(step < warmup_steps, rise, fall)


@tf.keras.utils.register_keras_serializable(package="semppl")
class WarmupCosine(tf.keras.optimizers.schedules.LearningRateSchedule):
    """`warmup_cosine` as a Keras schedule; see there for the arguments."""

    def __init__(self, *, peak: float, warmup_steps: int, total_steps: int) -> None:
        super().__init__()
        _check_steps(warmup_steps=warmup_steps, total_steps=total_steps)
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step: tf.Tensor | int | float) -> tf.Tensor:
        """Returns the learning rate of `step`."""
        return warmup_cosine(step, **self.get_config())

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that rebuild this schedule."""
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


def _half_cosine(progress: tf.Tensor) -> tf.Tensor:
    return (1.0 + tf.cos(math.pi * tf.minimum(progress, 1.0))) / 2.0


def _check_steps(*, warmup_steps: int, total_steps: int) -> None:
    if total_steps < 1:
        raise ValueError(f"`total_steps` must be positive. Received: total_steps={total_steps}")
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"`warmup_steps` must be in 0..total_steps-1={total_steps - 1}. Received: warmup_steps={warmup_steps}"
        )
