"""Tests of semppl.losses.cross_entropy."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.cross_entropy import smoothed_cross_entropy


class SmoothedCrossEntropyTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(0.0, 0.1, 0.7)
    def test_it_is_the_cross_entropy_with_smoothed_labels_in_plain_loops(self, smoothing):
        logits = 3 * np.random.default_rng(0).standard_normal((2, 5, 4))
        labels = np.random.default_rng(1).integers(0, 4, (2, 5))
        expected = np.zeros((2, 5))
        for place in np.ndindex(2, 5):
            total = sum(math.exp(logit) for logit in logits[place])
            for number, logit in enumerate(logits[place]):
                share = smoothing / 4 + (1 - smoothing) * (number == labels[place])
                expected[place] -= share * math.log(math.exp(logit) / total)
        losses = smoothed_cross_entropy(tf.constant(logits), tf.constant(labels), smoothing=smoothing)
        self.assertAllClose(losses, expected, rtol=1e-12)

    def test_its_smallest_value_is_the_entropy_of_the_smoothed_label(self):
        # Logits of the smoothed label's logarithms: 0.9 + 0.1/2 and 0.1/2.
        logits = tf.constant([[math.log(0.95), math.log(0.05)]], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = smoothed_cross_entropy(logits, tf.constant([0]), smoothing=0.1)
        self.assertAllClose(loss, [-0.95 * math.log(0.95) - 0.05 * math.log(0.05)], rtol=1e-12)
        self.assertAllClose(tape.gradient(loss, logits), [[0.0, 0.0]], atol=1e-12)

    def test_huge_logits_give_the_loss_of_their_difference(self):
        # −log p is 0 and 2e30: 0.8·2e30 + 0.2·(0 + 2e30)/2.
        losses = smoothed_cross_entropy(tf.constant([[1e30, -1e30]]), tf.constant([1]), smoothing=0.2)
        self.assertAllClose(losses, [1.8e30], rtol=1e-6)

    def test_the_gradient_is_that_of_finite_differences_and_the_order_of_classes_does_not_matter(self):
        logits, labels = np.random.default_rng(0).standard_normal((3, 4)), tf.constant([0, 3, 3])
        with tf.GradientTape() as tape:
            point = tf.constant(logits)
            tape.watch(point)
            total = tf.reduce_sum(smoothed_cross_entropy(point, labels, smoothing=0.3))
        gradient = tape.gradient(total, point).numpy()
        for place in np.ndindex(3, 4):
            step = np.zeros((3, 4))
            step[place] = 1e-6
            up, down = (tf.reduce_sum(smoothed_cross_entropy(logits + d, labels, smoothing=0.3)) for d in (step, -step))
            self.assertAllClose((up - down) / 2e-6, gradient[place], rtol=1e-7, atol=1e-9)
        order = [2, 0, 3, 1]
        moved = smoothed_cross_entropy(logits[:, order], tf.constant([1, 2, 2]), smoothing=0.3)
        self.assertAllClose(tf.reduce_sum(moved), total, rtol=1e-12)


if __name__ == "__main__":
    tf.test.main()
