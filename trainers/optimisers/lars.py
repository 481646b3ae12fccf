"""LARS: momentum over gradients that are scaled to the norm of their weights."""

import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from semppl.trainers.optimisers.rate_factors import RateFactors

# The last part of a variable's path: `projector/dense/bias:0`, or `projector/dense/bias/replica_1:0` on the second replica,
# where Keras' optimisers see the replica's own variable. The weights of a layer called `beta` do not match.
BIAS_OR_NORM = r"(?:^|/)(?:bias|gamma|beta)(?:/replica_\d+)?(?::\d+)?$"


def is_bias_or_norm(variable_name: str) -> bool:
    """Returns whether a variable's name is that of a bias or of a normalisation parameter."""
    return re.search(BIAS_OR_NORM, variable_name) is not None


def lars_update(
    weight: tf.Tensor,
    gradient: tf.Tensor,
    momentum_buffer: tf.Tensor,
    *,
    learning_rate: tf.Tensor | float,
    weight_decay: float,
    momentum: float,
    trust_coefficient: float,
    adapted: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Updates one weight by one step.

    The learning rate is applied outside the momentum, so a schedule takes effect at once; SimCLR's
    TensorFlow LARS applies it inside.

    Args:
        weight: `[...]` weight.
        gradient: `[...]` gradient of the loss over the global batch.
        momentum_buffer: `[...]` decayed sum of the earlier gradients.
        learning_rate: Scalar learning rate.
        weight_decay: Multiple of the weight that is added to its gradient.
        momentum: Decay of the momentum buffer per step, in 0..1.
        trust_coefficient: Ratio η of the adapted gradient's norm to the weight's norm.
        adapted: Whether to apply weight decay and η; False for biases and normalisation parameters.

    Returns:
        The new weight and the new momentum buffer, `[...]` each.

    Reference: You et al. 2017, arXiv 1708.03888, algorithm 1; in the order of BYOL's published
    code.
    """
    if adapted:
        gradient += weight_decay * weight
        gradient *= _trust_ratio(weight, gradient, trust_coefficient)
    momentum_buffer = momentum * momentum_buffer + gradient
    return weight - learning_rate * momentum_buffer, momentum_buffer


def _trust_ratio(weight: tf.Tensor, gradient: tf.Tensor, trust_coefficient: float) -> tf.Tensor:
    weight_norm = tf.norm(weight)
    gradient_norm = tf.norm(gradient)
    ratio = trust_coefficient * weight_norm / gradient_norm
    return tf.where((weight_norm > 0) & (gradient_norm > 0), ratio, tf.ones_like(ratio))


@tf.keras.utils.register_keras_serializable(package="semppl")
class LARS(RateFactors):
    """Applies `lars_update` to every variable; biases, gammas and betas are neither decayed nor adapted.

    Args:
        learning_rate: Number or `LearningRateSchedule`; a `tf.Variable` would be copied by Keras.
            Default 0.1.
        weight_decay: Multiple of the weight that is added to its gradient, unlike Keras' decoupled
            decay. Default 1e-6.
        momentum: Decay of the momentum buffer per step, in 0..1. Default 0.9.
        trust_coefficient: Ratio η of the adapted gradient's norm to the weight's norm; positive.
            Default 1e-3.
        jit_compile: Whether to compile each variable's update separately. Default False: replicas
            do not support it, and a step that is compiled as a whole does not need it.
        name: Name of the optimiser.
        **kwargs: Arguments of `tf.keras.optimizers.Optimizer`.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(
        self,
        learning_rate: tf.keras.optimizers.schedules.LearningRateSchedule | float = 0.1,
        weight_decay: float = 1e-6,
        momentum: float = 0.9,
        trust_coefficient: float = 1e-3,
        jit_compile: bool = False,
        name: str = "LARS",
        **kwargs: Any,
    ) -> None:
        if weight_decay < 0:
            raise ValueError(f"`weight_decay` must not be negative. Received: weight_decay={weight_decay}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"`momentum` must be in 0..1. Received: momentum={momentum}")
        if trust_coefficient <= 0:
            raise ValueError(f"`trust_coefficient` must be positive. Received: trust_coefficient={trust_coefficient}")
        super().__init__(name=name, weight_decay=weight_decay, jit_compile=jit_compile, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = momentum
        self.trust_coefficient = trust_coefficient

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Creates one momentum buffer per variable; a second call has no effect."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self.momentum_buffers = [self.add_variable_from_reference(variable, "momentum") for variable in var_list]
        self._built = True

    def update_at_rate(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates `variable` and its momentum buffer by one step."""
        momentum_buffer = self.momentum_buffers[self._index_dict[self._var_key(variable)]]
        new_weight, new_buffer = lars_update(
            tf.convert_to_tensor(variable),
            tf.convert_to_tensor(gradient),
            tf.convert_to_tensor(momentum_buffer),
            learning_rate=tf.cast(self.learning_rate, variable.dtype),
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            trust_coefficient=self.trust_coefficient,
            adapted=not is_bias_or_norm(variable.name),
        )
        variable.assign(new_weight)
        momentum_buffer.assign(new_buffer)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that rebuild this optimiser."""
        return {
            **super().get_config(),
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "momentum": self.momentum,
            "trust_coefficient": self.trust_coefficient,
        }

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        """Disables Keras' decoupled decay: the gradient contains the weight decay already."""
