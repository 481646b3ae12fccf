"""A lower learning rate for some of an optimiser's variables."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf


class RateFactors(tf.keras.optimizers.Optimizer):
    """A Keras optimiser that multiplies the learning rate of some variables by a factor.

    The factor applies to weight decay too, where the decay is multiplied by the learning rate. With
    a factor of 1, every bit of a step is that of an optimiser without factors.
    """

    _reduced: frozenset[str] = frozenset()
    _factor_of_reduced = 1.0
    _factor = 1.0

    def multiply_rate(self, variables: Sequence[tf.Variable], factor: float) -> None:
        """Sets the factor of some variables; the factor of all others is 1.

        Args:
            variables: Variables of the optimiser.
            factor: Positive factor of their learning rate.
        """
        if factor != 1:
            self._reduced = frozenset(self._var_key(variable) for variable in variables)
            self._factor_of_reduced = factor

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the variable that is being updated; otherwise the rate before any factor."""
        rate = super().learning_rate
        return rate if self._factor == 1 else rate * self._factor

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates one variable."""
        with self._updating(self._var_key(variable) in self._reduced):
            self.update_at_rate(gradient, variable)

    def update_at_rate(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates one variable at `learning_rate`."""
        super().update_step(gradient, variable)

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        for reduced in (False, True):
            group = [variable for variable in variables if (self._var_key(variable) in self._reduced) == reduced]
            if group:
                with self._updating(reduced):
                    super()._apply_weight_decay(group)

    @contextlib.contextmanager
    def _updating(self, reduced: bool) -> Iterator[None]:
        self._factor = self._factor_of_reduced if reduced else 1.0
        try:
            yield
        finally:
            self._factor = 1.0
