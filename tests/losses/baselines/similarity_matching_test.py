"""Tests of semppl.losses.baselines.similarity_matching."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.baselines import similarity_matching
from semppl.tests.losses.baselines import checks

_LABELS = np.array([1, 0, -1, 2, 1, 0, -1], np.int32)
_FILLED = _LABELS >= 0


def _distribution_oracle(anchor, bank, temperature):
    """Softmax over the filled slots of one embedding, in plain loops."""
    weights = [math.exp(anchor @ slot / temperature) if c >= 0 else 0.0 for slot, c in zip(bank, _LABELS, strict=True)]
    return [weight / sum(weights) for weight in weights]


def _probabilities(rows, columns, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(columns), rows)


class SimilarityMatchingTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(0.1, 1.3)
    def test_the_distribution_matches_plain_loops_and_leaves_empty_slots_out(self, temperature):
        anchors, bank = checks.unit(4, 5), checks.unit(7, 5, seed=1)
        found = similarity_matching.similarity_distribution(
            tf.constant(anchors), tf.constant(bank), _FILLED, temperature=temperature
        )
        expected = [_distribution_oracle(anchor, bank, temperature) for anchor in anchors]
        self.assertAllClose(tf.exp(found), expected, rtol=1e-9)

    @parameterized.parameters(0.1, 0.5, 2.0)
    def test_orthogonal_slots_have_a_closed_form(self, temperature):
        axes = tf.eye(4, dtype=tf.float64)
        found = similarity_matching.similarity_distribution(axes, axes, tf.ones([4], tf.bool), temperature=temperature)
        expected = [-math.log1p(3 * math.exp(-1 / temperature))] * 4
        self.assertAllClose(tf.linalg.diag_part(found), expected, rtol=1e-12)

    def test_votes_and_neighbours_match_plain_loops(self):
        distribution, probabilities = _probabilities(4, 7), _probabilities(4, 3, seed=1)
        votes = similarity_matching.aggregate(tf.constant(distribution), tf.constant(_LABELS), 3)
        unfolded = similarity_matching.unfold(
            tf.constant(distribution), tf.constant(probabilities), tf.constant(_LABELS)
        )
        for b in range(4):
            vote, product = [0.0] * 3, []
            for slot, label in enumerate(_LABELS):
                if label >= 0:
                    vote[label] += distribution[b, slot]
                product.append(distribution[b, slot] * probabilities[b, label] if label >= 0 else 0.0)
            self.assertAllClose(votes[b], vote, rtol=1e-9)
            self.assertAllClose(unfolded[b], [value / sum(product) for value in product], rtol=1e-9)

    def test_an_empty_memory_predicts_nothing(self):
        empty, anchors = tf.fill([7], -1), tf.constant(checks.unit(4, 5), tf.float32)
        logs = similarity_matching.similarity_distribution(
            anchors, tf.zeros([7, 5]), tf.zeros([7], tf.bool), temperature=0.1
        )
        self.assertAllEqual(tf.exp(logs), tf.zeros([4, 7]))
        self.assertAllEqual(similarity_matching.unfold(tf.exp(logs), tf.ones([4, 3]) / 3, empty), tf.zeros([4, 7]))
        self.assertAllEqual(similarity_matching.aggregate(tf.exp(logs), empty, 3), tf.zeros([4, 3]))
        self.assertAllEqual(similarity_matching.soft_cross_entropy(tf.zeros([4, 7]), logs), tf.zeros([4]))

    def _loss(self, anchors, temperature=0.3):
        bank, targets = checks.unit(7, 5, seed=1), _probabilities(4, 7) * (_LABELS >= 0)
        logs = similarity_matching.similarity_distribution(
            anchors, tf.constant(bank, anchors.dtype), _FILLED, temperature=temperature
        )
        return similarity_matching.soft_cross_entropy(tf.constant(targets, anchors.dtype), logs)

    def test_the_loss_matches_plain_loops(self):
        anchors, bank = checks.unit(4, 5), checks.unit(7, 5, seed=1)
        targets, expected = _probabilities(4, 7) * (_LABELS >= 0), []
        for anchor, target in zip(anchors, targets, strict=True):
            predicted = _distribution_oracle(anchor, bank, 0.3)
            expected.append(-sum(t * math.log(p) for t, p in zip(target, predicted, strict=True) if t))
        self.assertAllClose(self._loss(tf.constant(anchors)), expected, rtol=1e-9)

    def test_the_gradient_is_the_slope(self):
        along, slope = checks.slopes(self._loss, checks.unit(4, 5))
        self.assertAllClose(along, slope, rtol=1e-7)

    @parameterized.parameters(1e-3, 1e3)
    def test_extreme_temperatures_stay_finite(self, temperature):
        found = checks.gradient(lambda anchors: self._loss(anchors, temperature), checks.unit(4, 5))
        self.assertAllEqual(np.isfinite(found), np.ones([4, 5], bool))

    def test_no_gradient_flows_to_the_targets(self):
        targets = tf.constant(_probabilities(4, 3))
        with tf.GradientTape() as tape:
            tape.watch(targets)
            loss = similarity_matching.soft_cross_entropy(targets, tf.math.log(targets))
        self.assertAllClose(tape.gradient(loss, targets), -tf.ones_like(targets))


if __name__ == "__main__":
    tf.test.main()
