"""Schedules of the learning rate and of the target's decay."""

import math
from typing import Any

import tensorflow as tf


def target_decay(step: tf.Tensor | int | float, *, base: float, total_steps: int) -> tf.Tensor:
    """Rises from `base` at step 0 to exactly 1 at `total_steps` along half a cosine.

    Args:
        step: Number of optimiser steps taken, a number or a tensor of any shape and numeric type;
            clipped to `total_steps`.
        base: Decay at step 0, in 0..1.
        total_steps: Number of steps of the whole run; positive.

    Returns:
        Weight of the old target in the moving average, in `base`..1, with the shape of `step`.

    Raises:
        ValueError: If a setting is out of its range.

    Reference: Grill et al. 2020 (BYOL), arXiv 2006.07733, section 3.3.
    """
    if not 0.0 <= base <= 1.0:
        raise ValueError(f"`base` must be in 0..1. Received: base={base}")
    _check_steps(warmup_steps=0, total_steps=total_steps)
    return 1.0 - (1.0 - base) * _half_cosine(tf.cast(step, tf.float32) / total_steps)


def warmup_cosine(step: tf.Tensor | int | float, *, peak: float, warmup_steps: int, total_steps: int) -> tf.Tensor:
    """Rises linearly from 0 to `peak`, then falls to 0 along half a cosine.

    Args:
        step: Number of optimiser steps taken, a number or a tensor of any shape and numeric type;
            clipped to `total_steps`.
        peak: Value at `warmup_steps`.
        warmup_steps: Number of steps of the linear rise, in 0..total_steps-1; 0 starts at `peak`.
        total_steps: Number of steps of the whole run, warm-up included.

    Returns:
        Learning rate of the next step, in 0..`peak`, with the shape of `step`.

    Raises:
        ValueError: If a setting is out of its range.

    Reference: Grill et al. 2020 (BYOL), arXiv 2006.07733, section 3.3; Loshchilov & Hutter 2017,
    arXiv 1608.03983.
    """
    _check_steps(warmup_steps=warmup_steps, total_steps=total_steps)
    step = tf.cast(step, tf.float32)
    rise = peak * step / max(warmup_steps, 1)
    fall = peak * _half_cosine((step - warmup_steps) / (total_steps - warmup_steps))
    return tf.where(step < warmup_steps, rise, fall)


@tf.keras.utils.register_keras_serializable(package="semppl")
class WarmupCosine(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Keras schedule of `warmup_cosine`.

    Args:
        peak: Value at `warmup_steps`.
        warmup_steps: Number of steps of the linear rise, in 0..total_steps-1; 0 starts at `peak`.
        total_steps: Number of steps of the whole run, warm-up included.
    """

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
