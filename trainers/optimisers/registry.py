"""The optimisers that a run can name."""

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from semppl.trainers.optimisers import lars

LearningRate: TypeAlias = tf.keras.optimizers.schedules.LearningRateSchedule | float


def _lars(
    learning_rate: LearningRate, weight_decay: float, momentum: float, trust_coefficient: float
) -> tf.keras.optimizers.Optimizer:
    return lars.LARS(learning_rate, weight_decay, momentum, trust_coefficient)


def _adamw(
    learning_rate: LearningRate, weight_decay: float, momentum: float, trust_coefficient: float
) -> tf.keras.optimizers.Optimizer:
    del trust_coefficient  # Adam scales every element by itself.
    optimiser = tf.keras.optimizers.AdamW(learning_rate, weight_decay, beta_1=momentum, jit_compile=False)
    optimiser.exclude_from_weight_decay(var_names=[lars.BIAS_OR_NORM])
    return optimiser


OPTIMISERS: dict[str, Callable[[LearningRate, float, float, float], tf.keras.optimizers.Optimizer]] = {
    "lars": _lars,
    "adamw": _adamw,
}


def make_optimiser(
    name: str,
    *,
    learning_rate_schedule: LearningRate,
    weight_decay: float,
    momentum: float = 0.9,
    trust_coefficient: float = 1e-3,
) -> tf.keras.optimizers.Optimizer:
    """Makes an optimiser that leaves biases and norm parameters out of its weight decay.

    Call it in the strategy's scope. Its updates are not compiled one by one (Keras does so where there is a GPU, and
    fails with several replicas): compile the step.

    Args:
        name: a key of `OPTIMISERS`.
        learning_rate_schedule: a schedule, or a constant; no `tf.Variable`, for Keras would copy it.
        weight_decay: per step; LARS adds it to the gradient, AdamW multiplies it with the learning rate.
        momentum: share of the earlier gradients that is kept; AdamW's β₁.
        trust_coefficient: LARS' η; the others have none.

    Returns:
        The optimiser, its variables not yet built.

    Raises:
        ValueError: `name` is unknown, or a setting is out of its range.
        TypeError: `learning_rate_schedule` is a `tf.Variable`.
    """
    if name not in OPTIMISERS:
        raise ValueError(f"`name` must be one of {sorted(OPTIMISERS)}. Received: name={name!r}")
    if isinstance(learning_rate_schedule, tf.Variable):
        raise TypeError(
            "`learning_rate_schedule` must be a LearningRateSchedule or a number; Keras would copy a variable. "
            f"Received: learning_rate_schedule={learning_rate_schedule.name}"
        )
    return OPTIMISERS[name](learning_rate_schedule, weight_decay, momentum, trust_coefficient)
