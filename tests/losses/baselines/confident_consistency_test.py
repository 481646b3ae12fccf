"""Tests of semppl.losses.baselines.confident_consistency."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.baselines.confident_consistency import class_fairness, confident_consistency
from semppl.tests.losses.baselines import checks


def _fairness_oracle(mean, shares, expected_mean, expected_shares):
    """The formula in plain loops."""
    ratios, expected = [], []
    for c in range(len(mean)):
        ratios.append(mean[c] / shares[c] if shares[c] else 0.0)
        expected.append(expected_mean[c] / expected_shares[c] if expected_shares[c] else 0.0)
    value = 0.0
    for ratio, weight in zip(ratios, expected, strict=True):
        value += weight / sum(expected) * math.log(ratio / sum(ratios) + 1e-12)
    return value


class ConfidentConsistencyTest(tf.test.TestCase, parameterized.TestCase):
    def test_matches_plain_loops(self):
        logits, classes = np.random.default_rng(0).normal(size=(6, 4)) * 3, np.array([2, -1, 0, 3, -1, 2])
        expected = []
        for row, label in zip(logits, classes, strict=True):
            total = sum(math.exp(value) for value in row)
            expected.append(-math.log(math.exp(row[label]) / total) if label >= 0 else 0.0)
        losses = confident_consistency(tf.constant(logits), tf.constant(classes, tf.int32))
        self.assertAllClose(losses, expected, rtol=1e-12)

    @parameterized.parameters(0.5, 2.0, 7.0)
    def test_one_large_logit_has_a_closed_form(self, temperature):
        logits = tf.eye(4, dtype=tf.float64) / temperature
        expected = math.log1p(3 * math.exp(-1 / temperature))
        self.assertAllClose(confident_consistency(logits, tf.range(4)), [expected] * 4, rtol=1e-12)

    def test_the_gradient_is_the_slope_and_0_without_a_pseudo_label(self):
        classes = tf.constant([2, -1, 0])
        point = np.random.default_rng(0).normal(size=(3, 4))
        along, slope = checks.slopes(lambda logits: confident_consistency(logits, classes), point)
        self.assertAllClose(along, slope, rtol=1e-7)
        found = checks.gradient(lambda logits: confident_consistency(logits, classes), point)
        self.assertAllEqual(found[1], [0] * 4)

    def test_extreme_logits_stay_finite(self):
        logits = np.array([[1e4, -1e4], [-1e4, 1e4]])
        self.assertAllClose(confident_consistency(tf.constant(logits, tf.float32), tf.constant([0, 0])), [0, 2e4])
        found = checks.gradient(lambda point: confident_consistency(point, tf.constant([0, 0])), logits)
        self.assertAllClose(found, [[0, 0], [-1, 1]])


class ClassFairnessTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        self.mean, self.shares, self.expected_mean, self.expected_shares = rng.dirichlet(np.full(5, 9), 4)

    def _loss(self, mean, shares=None):
        return class_fairness(
            mean,
            tf.constant(self.shares if shares is None else shares, mean.dtype),
            expected_mean=tf.constant(self.expected_mean, mean.dtype),
            expected_shares=tf.constant(self.expected_shares, mean.dtype),
        )

    @parameterized.parameters((), (1,), (0, 3))
    def test_matches_plain_loops_also_where_no_prediction_is_of_a_class(self, *missing):
        self.shares[list(missing)] = 0
        expected = _fairness_oracle(self.mean, self.shares, self.expected_mean, self.expected_shares)
        self.assertAllClose(self._loss(tf.constant(self.mean)), expected, rtol=1e-9)

    def test_balanced_predictions_have_the_log_of_the_number_of_classes(self):
        self.assertAllClose(self._loss(tf.constant(self.shares)), -math.log(5), rtol=1e-9)

    def test_the_gradient_is_the_slope(self):
        along, slope = checks.slopes(self._loss, self.mean)
        self.assertAllClose(along, slope, rtol=1e-6)

    def test_one_class_or_none_stays_finite(self):
        for shares in (np.eye(5)[2], np.zeros(5)):
            found = checks.gradient(lambda mean, shares=shares: self._loss(mean, shares), np.eye(5)[2])
            self.assertAllEqual(np.isfinite(found), [True] * 5)
            self.assertTrue(np.isfinite(float(self._loss(tf.constant(np.eye(5)[2], tf.float32), shares))))

    def test_no_gradient_flows_to_the_averages(self):
        averages = [tf.constant(part) for part in (self.shares, self.expected_mean, self.expected_shares)]
        with tf.GradientTape() as tape:
            tape.watch(averages)
            value = class_fairness(
                tf.constant(self.mean), averages[0], expected_mean=averages[1], expected_shares=averages[2]
            )
        self.assertEqual(tape.gradient(value, averages), [None] * 3)


if __name__ == "__main__":
    tf.test.main()
