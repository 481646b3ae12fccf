"""A model that knows how long its training waited for input."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

Report = dict[str, tf.Tensor]


class Method(tf.keras.Model):
    """Trains in Keras' `fit`, with a clock around every `next`.

    A subclass' `train_step` reports the same on every replica; `fit` gets what the first one says. It is traced as it stands:
    `tf.cond` and `tf.where`, for no `if` on a tensor is converted.

    Attributes:
        seconds_waiting: for batches, so far, in this process. Not counted where several steps are taken at once: their batches are
            fetched within a graph, and a clock there would be a call back to the host.
    """

    seconds_waiting = 0.0
    train_function: Callable[[Iterator[Any]], Report] | None

    def make_train_function(self, force: bool = False) -> Callable[[Iterator[Any]], Report]:
        """Makes what `fit` calls: takes `steps_per_execution` steps, and returns what the last one reports."""
        if self.train_function is not None and not force:
            return self.train_function
        self.distribute_reduction_method = "first"  # what a step reports is of the global batch; Keras would add it up
        if int(self.steps_per_execution.numpy()) > 1:
            made: Callable[[Iterator[Any]], Report] = super().make_train_function(force)
            return made
        strategy = self.distribute_strategy
        run = (
            tf.function(self.train_step, jit_compile=True, reduce_retracing=True, autograph=False)
            if self.jit_compile
            else self.train_step
        )

        @tf.function(reduce_retracing=True, autograph=False)  # no step has Python to convert; looking takes seconds
        def take_step(batch: Any) -> Report:
            report = strategy.run(run, args=(batch,))
            return {name: strategy.experimental_local_results(value)[0] for name, value in report.items()}

        def train_function(iterator: Iterator[Any]) -> Report:
            asked = time.monotonic()
            batch = next(iterator)
            self.seconds_waiting += time.monotonic() - asked
            return take_step(batch)

        self.train_function = train_function
        return train_function
