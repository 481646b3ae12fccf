"""The optimisers, by name."""

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from semppl.trainers.optimisers import lars
from semppl.trainers.optimisers.rate_factors import RateFactors

LearningRate: TypeAlias = tf.keras.optimizers.schedules.LearningRateSchedule | float


def _lars(learning_rate: LearningRate, weight_decay: float, momentum: float, trust_coefficient: float) -> RateFactors:
    return lars.LARS(learning_rate, weight_decay, momentum, trust_coefficient)


def _adamw(learning_rate: LearningRate, weight_decay: float, momentum: float, trust_coefficient: float) -> RateFactors:
    del trust_coefficient  # Adam scales each element separately.
    optimiser = _AdamW(learning_rate, weight_decay, beta_1=momentum, jit_compile=False)
    optimiser.exclude_from_weight_decay(var_names=[lars.BIAS_OR_NORM])
    return optimiser


class _AdamW(RateFactors, tf.keras.optimizers.AdamW):
    """Keras' AdamW with a lower learning rate for some variables."""


OPTIMISERS: dict[str, Callable[[LearningRate, float, float, float], RateFactors]] = {
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
) -> RateFactors:
    """Makes an optimiser that excludes biases and normalisation parameters from weight decay.

    Call it in the strategy's scope, and compile the whole step: the updates are not compiled one by
    one, as Keras would do on a GPU, because that fails with several replicas.

    Args:
        name: Key of `OPTIMISERS`.
        learning_rate_schedule: Schedule or constant, not a `tf.Variable`.
        weight_decay: Weight decay per step: added to the gradient by LARS, multiplied with the
            learning rate by AdamW.
        momentum: Decay of the average of earlier gradients; β₁ of AdamW. Default 0.9.
        trust_coefficient: η of LARS; ignored by AdamW. Default 1e-3.

    Returns:
        An optimiser whose variables are not built yet.

    Raises:
        ValueError: If `name` is unknown or a setting is out of its range.
        TypeError: If `learning_rate_schedule` is a `tf.Variable`.
    """
    if name not in OPTIMISERS:
        raise ValueError(f"`name` must be one of {sorted(OPTIMISERS)}. Received: name={name!r}")
    if isinstance(learning_rate_schedule, tf.Variable):
        raise TypeError(
            "`learning_rate_schedule` must be a LearningRateSchedule or a number; Keras would copy a variable. "
            f"Received: learning_rate_schedule={learning_rate_schedule.name}"
        )
    return OPTIMISERS[name](learning_rate_schedule, weight_decay, momentum, trust_coefficient)
