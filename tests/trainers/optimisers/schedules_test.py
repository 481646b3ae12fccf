"""Tests of semppl.trainers.optimisers.schedules."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.tests import testing
from semppl.trainers.optimisers import schedules


def _learning_rate(step, peak, warmup_steps, total_steps):
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = min((step - warmup_steps) / (total_steps - warmup_steps), 1.0)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))


def _decay(step, base, total_steps):
    return 1.0 - (1.0 - base) * (math.cos(math.pi * min(step, total_steps) / total_steps) + 1.0) / 2.0


class TargetDecayTest(tf.test.TestCase, parameterized.TestCase):
    def test_values_of_the_official_code_are_reproduced(self):
        golden = np.load(testing.golden("schedules.npz"))
        decay = schedules.target_decay(golden["steps"], base=0.99, total_steps=1000)
        self.assertAllClose(decay, golden["target_decay_base_0_99"], rtol=0, atol=1e-7)

    @parameterized.parameters((0.0, 7), (0.5, 12), (0.996, 300))
    def test_every_step_matches_the_formula(self, base, total_steps):
        steps = range(total_steps + 1)
        decay = schedules.target_decay(tf.range(total_steps + 1), base=base, total_steps=total_steps)
        self.assertAllClose(decay, [_decay(step, base, total_steps) for step in steps], rtol=0, atol=2e-7)

    def test_target_stands_still_at_the_end_and_after_it(self):
        decay = schedules.target_decay([10, 11, 15, 20, 1000], base=0.9, total_steps=10)
        self.assertAllEqual(decay, [1.0] * 5)

    @parameterized.parameters(int, float, np.int64, np.float32, tf.constant, tf.Variable)
    def test_numbers_and_tensors_of_any_type_give_the_same(self, kind):
        decay = schedules.target_decay(kind(3), base=0.9, total_steps=8)
        self.assertEqual(decay.dtype, tf.float32)
        self.assertAllClose(decay, _decay(3, 0.9, 8), rtol=0, atol=1e-7)

    @parameterized.parameters(-0.1, 1.1)
    def test_a_base_that_is_no_share_is_refused(self, base):
        with self.assertRaisesRegex(ValueError, rf"`base` must be in 0\.\.1\. Received: base={base}"):
            schedules.target_decay(0, base=base, total_steps=10)

    def test_a_run_without_steps_is_refused(self):
        with self.assertRaisesRegex(ValueError, r"`total_steps` must be positive\. Received: total_steps=0"):
            schedules.target_decay(0, base=0.9, total_steps=0)


class WarmupCosineTest(tf.test.TestCase, parameterized.TestCase):
    def test_values_of_the_official_code_are_reproduced(self):
        golden = np.load(testing.golden("schedules.npz"))
        peak = 0.3 * 4096 / 256
        rate = schedules.warmup_cosine(golden["steps"], peak=peak, warmup_steps=100, total_steps=1000)
        self.assertAllClose(rate, golden["learning_rate"], rtol=1e-6, atol=1e-6)

    @parameterized.parameters((0.7, 0, 5), (2.0, 1, 9), (4.8, 4, 20), (0.1, 19, 20))
    def test_every_step_matches_the_formula(self, peak, warmup_steps, total_steps):
        rate = schedules.warmup_cosine(
            tf.range(total_steps + 3), peak=peak, warmup_steps=warmup_steps, total_steps=total_steps
        )
        expected = [_learning_rate(step, peak, warmup_steps, total_steps) for step in range(total_steps + 3)]
        self.assertAllClose(rate, expected, rtol=1e-6, atol=1e-6)

    def test_rise_starts_at_zero_and_ends_at_the_peak(self):
        rate = schedules.warmup_cosine([0, 10], peak=3.0, warmup_steps=10, total_steps=20)
        self.assertAllEqual(rate, [0.0, 3.0])

    def test_without_warm_up_the_first_step_has_the_peak(self):
        self.assertAllEqual(schedules.warmup_cosine(0, peak=3.0, warmup_steps=0, total_steps=20), 3.0)

    def test_nothing_is_learnt_at_the_end_and_after_it(self):
        rate = schedules.warmup_cosine([20, 21, 40, 1000], peak=3.0, warmup_steps=2, total_steps=20)
        self.assertAllEqual(rate, [0.0] * 4)

    @parameterized.parameters(int, float, np.int64, np.float32, tf.constant, tf.Variable)
    def test_numbers_and_tensors_of_any_type_give_the_same(self, kind):
        rate = schedules.warmup_cosine(kind(3), peak=0.5, warmup_steps=2, total_steps=8)
        self.assertEqual(rate.dtype, tf.float32)
        self.assertAllClose(rate, _learning_rate(3, 0.5, 2, 8), rtol=0, atol=1e-7)

    @parameterized.parameters((-1, 10), (10, 10), (11, 10))
    def test_a_warm_up_that_does_not_fit_into_the_run_is_refused(self, warmup_steps, total_steps):
        message = rf"`warmup_steps` must be in 0\.\.total_steps-1=9\. Received: warmup_steps={warmup_steps}"
        with self.assertRaisesRegex(ValueError, message):
            schedules.warmup_cosine(0, peak=1.0, warmup_steps=warmup_steps, total_steps=total_steps)
        with self.assertRaisesRegex(ValueError, message):
            schedules.WarmupCosine(peak=1.0, warmup_steps=warmup_steps, total_steps=total_steps)


class WarmupCosineScheduleTest(tf.test.TestCase, parameterized.TestCase):
    def test_schedule_is_the_function(self):
        schedule = schedules.WarmupCosine(peak=0.5, warmup_steps=3, total_steps=11)
        for step in range(12):
            self.assertAllClose(schedule(step), _learning_rate(step, 0.5, 3, 11), rtol=1e-6, atol=1e-7)

    def test_schedule_survives_serialisation_in_an_optimiser(self):
        schedule = schedules.WarmupCosine(peak=0.5, warmup_steps=3, total_steps=11)
        serialised = tf.keras.optimizers.serialize(tf.keras.optimizers.SGD(schedule))
        config = serialised["config"]["learning_rate"]
        self.assertEqual(config["registered_name"], "semppl>WarmupCosine")
        self.assertEqual(config["config"], {"peak": 0.5, "warmup_steps": 3, "total_steps": 11})
        optimiser = tf.keras.optimizers.deserialize(serialised)
        self.assertIsInstance(optimiser._learning_rate, schedules.WarmupCosine)
        self.assertEqual(optimiser._learning_rate.get_config(), schedule.get_config())

    @parameterized.parameters(False, True)
    def test_an_optimisers_step_uses_the_rate_of_the_steps_before_it(self, jit_compile):
        weight = tf.Variable(0.0)
        optimiser = tf.keras.optimizers.SGD(schedules.WarmupCosine(peak=0.5, warmup_steps=2, total_steps=5))
        optimiser.build([weight])

        @tf.function(jit_compile=jit_compile)
        def step():
            optimiser.apply_gradients([(tf.constant(-1.0), weight)])

        position = 0.0
        for i in range(6):
            step()
            position += _learning_rate(i, 0.5, 2, 5)
            self.assertAllClose(weight, position, rtol=1e-6, atol=1e-7)


if __name__ == "__main__":
    tf.test.main()
