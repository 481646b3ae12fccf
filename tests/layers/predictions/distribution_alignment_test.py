"""Tests of semppl.layers.predictions.distribution_alignment."""

import numpy as np
import tensorflow as tf

from semppl.layers.predictions.distribution_alignment import DistributionAlignment


def _probabilities(seed, count=5):
    return np.random.default_rng(seed).dirichlet(np.ones(3), count).astype(np.float32)


class DistributionAlignmentTest(tf.test.TestCase):
    def test_predictions_are_divided_by_the_mean_of_the_latest_batches_in_plain_loops(self):
        layer, batches = DistributionAlignment(3, length=2), [_probabilities(seed) for seed in range(3)]
        included = np.array([True, False, True, True, False])
        for batch in batches:
            layer.update(tf.constant(batch), tf.constant(included))
        means = [[sum(row[c] for row in batch[included]) / 3 for c in range(3)] for batch in batches[1:]]
        for row, aligned in zip(batches[0], layer.align(tf.constant(batches[0])), strict=True):
            raw = [row[c] * (1 / 3 + 1e-6) / ((means[0][c] + means[1][c]) / 2 + 1e-6) for c in range(3)]
            self.assertAllClose(aligned, [value / sum(raw) for value in raw], rtol=1e-5)

    def test_aligned_predictions_of_a_batch_whose_mean_is_stored_lean_to_the_rare_class(self):
        layer = DistributionAlignment(2, length=1)
        layer.update(tf.constant([[0.9, 0.1], [0.7, 0.3]]), tf.ones([2], tf.bool))
        self.assertAllClose(layer.align(tf.constant([[0.8, 0.2]])), [[0.5, 0.5]], atol=1e-5)

    def test_a_new_layer_and_a_batch_without_an_included_image_change_nothing(self):
        layer, batch = DistributionAlignment(3, length=2), tf.constant(_probabilities(0))
        self.assertAllClose(layer.align(batch), batch, rtol=1e-5)
        layer.update(batch, tf.zeros([5], tf.bool))
        self.assertAllEqual(layer.means, tf.zeros([2, 3]))
        self.assertAllEqual(layer.pointer, 0)

    def test_32_batches_are_the_default(self):
        self.assertEqual(DistributionAlignment(3).length, 32)


if __name__ == "__main__":
    tf.test.main()
