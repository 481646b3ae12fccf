"""Tests of semppl.benchmarks.comparisons.method_steps."""

import tensorflow as tf
from absl.testing import parameterized

from semppl.benchmarks import lightly_step
from semppl.benchmarks.comparisons import method_steps
from semppl.tests import testing
from semppl.trainers.methods import METHODS


class MethodStepsTest(tf.test.TestCase, parameterized.TestCase):
    def test_every_method_of_lightly_is_one_of_ours(self):
        self.assertContainsSubset(lightly_step.METHODS, METHODS)

    @parameterized.parameters(*lightly_step.METHODS)
    @testing.slow
    def test_a_step_learns(self, method):
        step = method_steps.make_step(method, "convnet", 4, "float32")
        losses = [float(step()) for _ in range(4)]
        self.assertNotEqual(losses[0], losses[1])
        self.assertAllInRange(losses, -10.0, 1000.0)


if __name__ == "__main__":
    tf.test.main()
