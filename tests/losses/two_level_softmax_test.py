"""Tests of semppl.losses.two_level_softmax."""

import math

import numpy as np
import tensorflow as tf

from semppl.losses.two_level_softmax import two_level_softmax


class TwoLevelSoftmaxTest(tf.test.TestCase):
    def test_candidates_are_the_softmax_in_two_levels(self):
        # Logits 0.5/0.25 = 2 for the positive, 0.4 and −0.8 for the negatives.
        softmax = two_level_softmax(tf.constant([[0.5]]) / 0.25, tf.constant([[0.1, -0.2]]) / 0.25)
        rest = math.exp(0.4) + math.exp(-0.8)
        self.assertAllClose(softmax.positive_log_odds, [[2.0 - math.log(rest)]], rtol=1e-6, atol=1e-7)
        expected = [[0.4 - math.log(rest), -0.8 - math.log(rest)]]
        self.assertAllClose(softmax.negative_log_probabilities, expected, rtol=1e-6, atol=1e-7)

    def test_each_positive_has_the_log_softmax_of_its_own_logits(self):
        # log P(positive) = log σ(odds); log P(negative m) = log σ(−odds) + log P(m | a negative).
        logits = np.random.default_rng(0).uniform(-5, 5, [2, 3 + 4])
        softmax = two_level_softmax(tf.constant(logits[:, :3]), tf.constant(logits[:, 3:]))
        for positive in range(3):
            log_odds = softmax.positive_log_odds[:, positive : positive + 1]
            negatives = tf.math.log_sigmoid(-log_odds) + softmax.negative_log_probabilities
            joined = tf.concat([tf.math.log_sigmoid(log_odds), negatives], axis=-1)
            expected = tf.nn.log_softmax(np.delete(logits, [p for p in range(3) if p != positive], axis=1))
            self.assertAllClose(joined, expected, rtol=1e-12, atol=1e-12)


if __name__ == "__main__":
    tf.test.main()
