"""Tests of semppl.trainers.method."""

import time

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from tensorflow.python.framework import config as tf_config  # the public one has no way back

from semppl.tests import testing
from semppl.trainers.method import Method


class _Adder(Method):
    """Adds the numbers of a batch to its weight, and reports the last one."""

    def __init__(self):
        super().__init__()
        self.total = self.add_weight(
            name="total",
            shape=[],
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def train_step(self, batch):
        self.total.assign_add(batch["number"])
        return {"number": batch["number"]}


def _numbers(count, pause=0.0):
    def give():
        for number in range(1, count + 1):
            time.sleep(pause)
            yield {"number": np.float32(number)}

    return tf.data.Dataset.from_generator(give, output_signature={"number": tf.TensorSpec([], tf.float32)})


class _Watch(tf.keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs):
        self.seen.append((batch, float(logs["number"])))


class MethodTest(tf.test.TestCase, parameterized.TestCase):
    def _fit(self, dataset, count, strategy=None, **options):
        with (strategy or tf.distribute.get_strategy()).scope():
            model = _Adder()
            model.compile(tf.keras.optimizers.SGD(jit_compile=False), **options)
        watch = _Watch()
        model.fit(dataset, steps_per_epoch=count, callbacks=[watch], verbose=0)
        return model, watch.seen

    @parameterized.parameters(False, True)
    def test_every_batch_is_a_step(self, jit_compile):
        model, seen = self._fit(_numbers(4), 4, jit_compile=jit_compile)
        self.assertEqual(seen, [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)])
        self.assertAllEqual(model.total, 10.0)

    def test_several_steps_may_be_taken_at_once_and_the_last_is_reported(self):
        model, seen = self._fit(_numbers(7), 7, steps_per_execution=3)
        self.assertEqual(seen, [(2, 3.0), (5, 6.0), (6, 7.0)])
        self.assertAllEqual(model.total, 28.0)

    def test_the_first_replica_reports(self):
        strategy = testing.two_replicas()
        dataset = strategy.distribute_datasets_from_function(lambda _: _numbers(6).repeat())
        model, seen = self._fit(dataset, 3, strategy=strategy)
        self.assertEqual(seen, [(0, 1.0), (1, 3.0), (2, 5.0)])
        self.assertAllEqual(strategy.experimental_local_results(model.total)[0], 9.0)

    def test_it_knows_how_long_it_waited(self):
        start = time.monotonic()
        model, _ = self._fit(_numbers(6, pause=0.1), 6)
        self.assertBetween(model.seconds_waiting, 0.55, time.monotonic() - start)

    def test_nobody_counts_where_several_steps_are_taken_at_once(self):
        model, _ = self._fit(_numbers(6, pause=0.1), 6, steps_per_execution=3)
        self.assertEqual(model.seconds_waiting, 0.0)

    def test_work_is_no_waiting(self):
        class Slow(_Adder):
            def train_step(self, batch):
                tf.py_function(lambda: time.sleep(0.2), [], [])
                return super().train_step(batch)

        model = Slow()
        model.compile(tf.keras.optimizers.SGD(jit_compile=False))
        start = time.monotonic()
        model.fit(_numbers(5).take(5).cache().prefetch(5), steps_per_epoch=5, verbose=0)
        self.assertGreater(time.monotonic() - start, 1.0)
        self.assertLess(model.seconds_waiting, 0.5 * (time.monotonic() - start))

    def test_it_works_where_a_run_must_be_repeatable(self):
        self.addCleanup(tf_config.disable_op_determinism)
        tf.keras.utils.set_random_seed(0)
        tf.config.experimental.enable_op_determinism()
        model, _ = self._fit(_numbers(3, pause=0.1), 3)
        self.assertGreater(model.seconds_waiting, 0.25)

    def test_training_again_goes_on_counting(self):
        model, _ = self._fit(_numbers(2, pause=0.1), 2)
        first = model.seconds_waiting
        model.fit(_numbers(2, pause=0.1), steps_per_epoch=2, verbose=0)
        self.assertGreater(model.seconds_waiting, first + 0.15)


if __name__ == "__main__":
    tf.test.main()
