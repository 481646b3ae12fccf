"""Tests of semppl.losses.compatibility."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.compatibility import compatibility_distance


def _unit(*shape, seed=0):
    rows = np.random.default_rng(seed).normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class CompatibilityTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(6, 4, 1)
    def test_is_the_mean_distance_of_the_first_dimensions_of_the_same_view(self, width):
        projections, old = _unit(3, 5, 6, seed=1), _unit(3, 5, width, seed=2)
        expected = np.zeros(5)
        for image in range(5):
            for view in range(3):
                first = projections[view, image, :width]
                expected[image] += (1 - first @ old[view, image] / math.sqrt(first @ first)) / 3
        self.assertAllClose(compatibility_distance(tf.constant(projections), tf.constant(old)), expected, rtol=1e-12)

    def test_the_same_direction_is_at_0_an_orthogonal_one_at_1_and_the_opposite_at_2(self):
        axes = tf.eye(3)[tf.newaxis]
        for old, expected in ((axes, 0), (tf.roll(axes, 1, 1), 1), (-axes, 2)):
            self.assertAllClose(compatibility_distance(axes, old), [expected] * 3)

    def test_gradients_are_slopes_and_none_reaches_the_old_projections(self):
        projections, old = _unit(2, 3, 5, seed=3), tf.constant(_unit(2, 3, 4, seed=4))
        variable = tf.constant(projections)
        with tf.GradientTape() as tape:
            tape.watch([variable, old])
            value = tf.reduce_sum(compatibility_distance(variable, old))
        gradient, none = tape.gradient(value, [variable, old])
        self.assertIsNone(none)
        slopes = np.zeros_like(projections)
        for place in np.ndindex(*projections.shape):
            step = np.zeros_like(projections)
            step[place] = 1e-6
            both = [tf.reduce_sum(compatibility_distance(projections + sign * step, old)) for sign in (1, -1)]
            slopes[place] = (both[0] - both[1]) / 2e-6
        self.assertAllClose(gradient, slopes, rtol=1e-6, atol=1e-6)

    def test_a_prefix_of_length_0_is_at_1_with_a_finite_gradient(self):
        projections, old = tf.constant([[[0.0, 0.0, 1.0]]]), tf.constant([[[1.0, 0.0]]])
        with tf.GradientTape() as tape:
            tape.watch(projections)
            distance = compatibility_distance(projections, old)
        self.assertAllClose(distance, [1])
        self.assertAllEqual(tf.math.is_finite(tape.gradient(distance, projections)), np.full([1, 1, 3], True))


if __name__ == "__main__":
    tf.test.main()
