"""LAMB of tensorflow-addons, with the interface of Keras' current optimisers."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # of the end of life of tensorflow-addons
    # Without tensorflow-addons, `registry.check_optimiser` refuses LAMB; a `RateFactors` of our own would replace it.
    from tensorflow_addons.optimizers import LAMB as AddonsLAMB  # noqa: N811

from semppl.trainers.optimisers.lars import BIAS_OR_NORM


class LAMB(AddonsLAMB):
    """Adam whose step for each weight is scaled to the norm of the weight; biases, gammas and betas are not scaled.

    The class of tensorflow-addons has the interface of Keras' legacy optimisers; this one adds what a run calls on
    `RateFactors`.

    Args:
        learning_rate: Number or `LearningRateSchedule`.
        weight_decay: Multiple of the weight that is added to the step before the step is scaled; not of biases, gammas and betas.
        beta_1: Decay of the average of the gradients, β₁, in 0..1.

    Reference: You et al. 2020, arXiv 1904.00962, algorithm 2, with β₂ = 0.999 and ε = 1e-6.
    """

    jit_compile = False

    def __init__(
        self,
        learning_rate: tf.keras.optimizers.schedules.LearningRateSchedule | float,
        weight_decay: float,
        beta_1: float,
    ) -> None:
        super().__init__(
            learning_rate, beta_1=beta_1, weight_decay=weight_decay, exclude_from_weight_decay=[BIAS_OR_NORM]
        )
        self._factors: dict[Any, float] = {}

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Creates the two averages of each variable; a second call has no effect."""
        self._create_all_weights(var_list)

    def multiply_rate(self, variables: Sequence[tf.Variable], factor: float) -> None:
        """Sets the factor of the learning rate of some variables; the factor of all others is 1."""
        if factor != 1:
            self._factors = {_key(variable): factor for variable in variables}

    @property
    def learning_rate(self) -> tf.Tensor:
        """The learning rate of the latest step, as of Keras' current optimisers, before any factor; at first, of the first step."""
        rate = self._get_hyper("learning_rate", tf.float32)
        return (
            rate(tf.maximum(self.iterations - 1, 0)) if callable(rate) and not isinstance(rate, tf.Variable) else rate
        )

    @property
    def variables(self) -> list[tf.Variable]:
        """The number of steps taken, and the averages."""
        return list(self.weights)

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]], skip_gradients_aggregation: bool = False
    ) -> Any:
        """Updates each variable by its gradient, which is summed over replicas unless it is already."""
        summed = not skip_gradients_aggregation
        return super().apply_gradients(grads_and_vars, experimental_aggregate_gradients=summed)

    def _resource_apply_dense(self, grad: tf.Tensor, var: tf.Variable, apply_state: dict[Any, Any]) -> Any:
        place = var.device, var.dtype.base_dtype
        numbers = apply_state[place] | {"lr_t": apply_state[place]["lr_t"] * self._factors.get(_key(var), 1.0)}
        return super()._resource_apply_dense(grad, var, {place: numbers})


def _key(variable: tf.Variable) -> str:
    """Returns the name, unique in this process, of a variable or of the one of which it is a replica's copy."""
    whole = getattr(variable, "_distributed_container", lambda: variable)()
    return str(whole._unique_id)
