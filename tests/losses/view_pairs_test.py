"""Tests of semppl.losses.view_pairs."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.view_pairs import mean_over_distinct_pairs, mean_over_pairs


class ViewPairsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((2, 2), (3, 2), (4, 1))
    def test_a_view_does_not_meet_itself(self, num_views, num_large):
        values = np.random.default_rng(0).normal(size=(5, num_views, num_large))
        expected = [
            np.mean([values[b, v, w] for v in range(num_views) for w in range(num_large) if v != w]) for b in range(5)
        ]
        self.assertAllClose(mean_over_distinct_pairs(tf.constant(values)), expected, rtol=1e-12)
        self.assertAllClose(mean_over_pairs(tf.constant(values)), values.mean(axis=(1, 2)), rtol=1e-12)

    def test_with_one_view_the_mean_is_0(self):
        self.assertAllEqual(mean_over_distinct_pairs(tf.ones([3, 1, 1])), [0, 0, 0])


if __name__ == "__main__":
    tf.test.main()
