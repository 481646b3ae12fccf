"""The optimisers, by name."""

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import tensorflow as tf

from semppl.trainers.optimisers import lars
from semppl.trainers.optimisers.rate_factors import RateFactors

if TYPE_CHECKING:
    from semppl.trainers.optimisers.lamb import LAMB

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


def _sgd(learning_rate: LearningRate, weight_decay: float, momentum: float, trust_coefficient: float) -> RateFactors:
    del trust_coefficient  # Plain gradients are not scaled.
    return _SGD(learning_rate, weight_decay, momentum=momentum, jit_compile=False)


class _SGD(RateFactors, tf.keras.optimizers.SGD):
    """Keras' SGD with momentum, with weight decay added to the gradients of kernels, as LARS has it."""

    def __init__(self, learning_rate: LearningRate, decay_of_kernels: float, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.decay_of_kernels = decay_of_kernels

    def update_at_rate(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        if not lars.is_bias_or_norm(variable.name):
            gradient += self.decay_of_kernels * tf.convert_to_tensor(variable)
        super().update_at_rate(gradient, variable)


def _lamb(learning_rate: LearningRate, weight_decay: float, momentum: float, trust_coefficient: float) -> "LAMB":
    from semppl.trainers.optimisers.lamb import LAMB  # takes a second to import, and needs tensorflow-addons

    del trust_coefficient  # A step has the norm of its weight, before the learning rate multiplies it.
    return LAMB(learning_rate, weight_decay, beta_1=momentum)


OPTIMISERS: dict[str, Callable[[LearningRate, float, float, float], "RateFactors | LAMB"]] = {
    "lars": _lars,
    "adamw": _adamw,
    "lamb": _lamb,
    "sgd": _sgd,
}


def check_optimiser(name: str, *, called: str = "`name`") -> None:
    """Looks up the name of an optimiser.

    Args:
        name: Key of `OPTIMISERS`.
        called: Name of the argument in errors.

    Raises:
        ValueError: If `name` is unknown, or needs tensorflow-addons, which is not installed.
    """
    if name not in OPTIMISERS:
        raise ValueError(f"{called} must be one of {', '.join(sorted(OPTIMISERS))}. Received: {name}")
    if name == "lamb" and importlib.util.find_spec("tensorflow_addons") is None:
        others = ", ".join(sorted(OPTIMISERS.keys() - {name}))
        raise ValueError(
            f"{called} must be one of {others} without tensorflow-addons, which has the code of lamb, and of which there is no "
            f"release for TensorFlow 2.16 or later (TensorFlow 2.15 on Python 3.11 has it). Received: {name}"
        )


def make_optimiser(
    name: str,
    *,
    learning_rate_schedule: LearningRate,
    weight_decay: float,
    momentum: float = 0.9,
    trust_coefficient: float = 1e-3,
) -> "RateFactors | LAMB":
    """Makes an optimiser that excludes biases and normalisation parameters from weight decay.

    Call it in the strategy's scope, and compile the whole step: the updates are not compiled one by
    one, as Keras would do on a GPU, because that fails with several replicas.

    Args:
        name: Key of `OPTIMISERS`.
        learning_rate_schedule: Schedule or constant, not a `tf.Variable`.
        weight_decay: Weight decay per step: added to the gradient by LARS and SGD, multiplied with the
            learning rate by AdamW, added to Adam's step by LAMB.
        momentum: Decay of the average of earlier gradients; β₁ of AdamW and LAMB. Default 0.9.
        trust_coefficient: η of LARS; ignored by the others. Default 1e-3.

    Returns:
        An optimiser whose variables are not built yet.

    Raises:
        ValueError: If `name` is unknown or not installed, or a setting is out of its range.
        TypeError: If `learning_rate_schedule` is a `tf.Variable`.
    """
    check_optimiser(name)
    if isinstance(learning_rate_schedule, tf.Variable):
        raise TypeError(
            "`learning_rate_schedule` must be a LearningRateSchedule or a number; Keras would copy a variable. "
            f"Received: learning_rate_schedule={learning_rate_schedule.name}"
        )
    return OPTIMISERS[name](learning_rate_schedule, weight_decay, momentum, trust_coefficient)
