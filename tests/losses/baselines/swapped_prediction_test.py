"""Tests of semppl.losses.baselines.swapped_prediction."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.baselines.swapped_prediction import sinkhorn, swapped_prediction
from semppl.tests.losses.baselines import checks


def _sinkhorn_oracle(scores, epsilon, iterations):
    """The published algorithm in plain loops: a matrix `[K, N]` whose rows sum to 1/K, then its columns to 1/N."""
    size, count = scores.shape
    q = [[math.exp(scores[n, k] / epsilon) for n in range(size)] for k in range(count)]
    for _ in range(iterations):
        q = [[value / sum(row) / count for value in row] for row in q]
        totals = [sum(row[n] for row in q) for n in range(size)]
        q = [[row[n] / totals[n] / size for n in range(size)] for row in q]
    return np.array(q).T * size


def _oracle(scores, codes, temperature):
    losses = []
    for b in range(scores.shape[1]):
        pairs = []
        for v in range(len(scores)):
            for w in range(len(codes)):
                if v != w:
                    total = sum(math.exp(score / temperature) for score in scores[v, b])
                    log_p = [math.log(math.exp(score / temperature) / total) for score in scores[v, b]]
                    pairs.append(-sum(q * p for q, p in zip(codes[w, b], log_p, strict=True)))
        losses.append(sum(pairs) / len(pairs))
    return losses


class SinkhornTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(epsilon=[0.05, 0.6], iterations=[1, 3])
    def test_matches_plain_loops(self, epsilon, iterations):
        scores = np.random.default_rng(0).uniform(-1, 1, (2, 6, 4))
        codes = sinkhorn(tf.constant(scores), epsilon=epsilon, iterations=iterations)
        expected = [_sinkhorn_oracle(view, epsilon, iterations) for view in scores]
        self.assertAllClose(codes, expected, rtol=1e-9, atol=1e-12)

    def test_three_iterations_are_the_default(self):
        scores = tf.constant(np.random.default_rng(0).uniform(-1, 1, (1, 6, 4)))
        self.assertAllEqual(sinkhorn(scores, epsilon=0.5), sinkhorn(scores, epsilon=0.5, iterations=3))

    def test_images_with_equal_scores_are_spread_evenly(self):
        scores = tf.broadcast_to(tf.constant([0.9, -0.5, 0.1, 0.3]), [1, 6, 4])
        self.assertAllClose(sinkhorn(scores, epsilon=0.05), np.full([1, 6, 4], 0.25))

    def test_extreme_scores_stay_finite_probabilities(self):
        scores = tf.constant(np.eye(4)[np.newaxis] * 2 - 1, tf.float32)
        codes = sinkhorn(scores, epsilon=1e-4)
        self.assertAllClose(codes, np.eye(4)[np.newaxis], atol=1e-6)

    def test_no_gradient_flows_through(self):
        scores = tf.constant(checks.unit(1, 6, 4))
        with tf.GradientTape() as tape:
            tape.watch(scores)
            codes = sinkhorn(scores, epsilon=0.5)
        self.assertIsNone(tape.gradient(codes, scores))


class SwappedPredictionTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(views=[(2, 2), (3, 2), (2, 1)], temperature=[0.1, 1.3])
    def test_matches_plain_loops(self, views, temperature):
        scores = np.random.default_rng(0).uniform(-1, 1, (views[0], 5, 4))
        codes = np.random.default_rng(1).dirichlet(np.ones(4), (views[1], 5))
        losses = swapped_prediction(tf.constant(scores), tf.constant(codes), temperature=temperature)
        self.assertAllClose(losses, _oracle(scores, codes, temperature), rtol=1e-9)

    @parameterized.parameters(0.1, 0.5, 2.0)
    def test_embeddings_on_their_prototypes_have_a_closed_form(self, temperature):
        axes = tf.eye(4, batch_shape=[2], dtype=tf.float64)  # 1 with the own prototype, 0 with three others
        losses = swapped_prediction(axes, axes, temperature=temperature)
        self.assertAllClose(losses, [math.log1p(3 * math.exp(-1 / temperature))] * 4, rtol=1e-12)

    def test_the_gradient_is_the_slope(self):
        codes = tf.constant(np.random.default_rng(1).dirichlet(np.ones(4), (2, 5)))
        along, slope = checks.slopes(
            lambda point: swapped_prediction(point, codes, temperature=0.3), checks.unit(3, 5, 4)
        )
        self.assertAllClose(along, slope, rtol=1e-7)

    def test_extreme_scores_stay_finite(self):
        codes = tf.eye(4, batch_shape=[2])
        found = checks.gradient(
            lambda point: swapped_prediction(point, codes, temperature=1e-3), -np.stack([np.eye(4)] * 2)
        )
        self.assertAllEqual(np.isfinite(found), np.ones([2, 4, 4], bool))


if __name__ == "__main__":
    tf.test.main()
