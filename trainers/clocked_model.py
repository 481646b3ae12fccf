"""A model that knows how long its training waited for input."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

Report = dict[str, tf.Tensor]


class ClockedModel(tf.keras.Model):
    """Trains in Keras' `fit`, with a clock around every `next`.

    A subclass' `train_step` reports the same on every replica; `fit` gets what the first one says.

    Attributes:
        seconds_waiting: for batches, so far, in this process.
    """

    seconds_waiting = 0.0
    train_function: Callable[[Iterator[Any]], Report] | None

    def make_train_function(self, force: bool = False) -> Callable[[Iterator[Any]], Report]:
        """Makes what `fit` calls: takes `steps_per_execution` steps, and returns what the last one reports.

        Keras' own has no place for a clock; this is the same loop otherwise.
        """
        if self.train_function is not None and not force:
            return self.train_function
        step_at_once = int(self.steps_per_execution.numpy()) == 1
        run = (
            tf.function(self.train_step, jit_compile=True, reduce_retracing=True)
            if self.jit_compile
            else self.train_step
        )
        strategy = self.distribute_strategy

        def take_step(iterator: Iterator[Any]) -> tuple[Report, tf.Tensor]:
            asked = _now()
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
                waited = _now() - asked
            report = strategy.run(run, args=(batch,))
            return {name: strategy.experimental_local_results(value)[0] for name, value in report.items()}, waited

        @tf.function(reduce_retracing=True)
        def take_steps(iterator: Iterator[Any]) -> tuple[Report, tf.Tensor]:
            waited = tf.zeros([], tf.float64)
            for _ in tf.range(self.steps_per_execution):
                report, seconds = take_step(iterator)
                waited += seconds
            return report, waited

        compiled = tf.function(take_step, reduce_retracing=True) if step_at_once else take_steps

        def train_function(iterator: Iterator[Any]) -> Report:
            report, waited = compiled(iterator)
            self.seconds_waiting += float(waited)
            return report

        self.train_function = train_function
        return train_function


def _now() -> tf.Tensor:
    """Returns the seconds of a clock that never goes back, in graphs too; `tf.timestamp` refuses where a run must be repeatable."""
    return tf.ensure_shape(tf.numpy_function(time.monotonic, [], tf.float64), [])
