"""Tests of semppl.losses.baselines.cross_correlation."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.baselines.cross_correlation import EPSILON, cross_correlation
from semppl.tests.losses.baselines import checks


def _oracle(embeddings, weight):
    """The formula in plain loops, one pair of views and of dimensions at a time."""
    num_views, size, width = embeddings.shape
    pairs = []
    for v in range(num_views):
        for w in range(v + 1, num_views):
            total = 0.0
            for i in range(width):
                for j in range(width):
                    a, b = embeddings[v, :, i], embeddings[w, :, j]
                    a, b = ((x - sum(x) / size) / np.sqrt(np.var(x) + EPSILON) for x in (a, b))
                    correlation = sum(a * b) / size
                    total += (1 - correlation) ** 2 if i == j else weight * correlation**2
            pairs.append(total)
    return sum(pairs) / len(pairs)


class CrossCorrelationTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(num_views=[2, 3], weight=[0.0051, 0.7])
    def test_matches_plain_loops(self, num_views, weight):
        embeddings = np.random.default_rng(0).normal(2, 3, (num_views, 7, 4))
        loss = cross_correlation(tf.constant(embeddings), redundancy_weight=weight)
        self.assertAllClose(loss, _oracle(embeddings, weight), rtol=1e-12)

    def test_dimensions_that_repeat_one_another_have_a_closed_form(self):
        # Values ±1 have the variance 1, so every correlation is c = 1/(1 + ε): 3·(1 − c)² + λ·6·c².
        signs = np.broadcast_to([[1.0], [-1.0], [-1.0], [1.0]], (2, 4, 3))
        c = 1 / (1 + 1e-5)
        loss = cross_correlation(tf.constant(signs), redundancy_weight=0.2)
        self.assertAllClose(loss, 3 * (1 - c) ** 2 + 0.2 * 6 * c**2, rtol=1e-12)

    def test_opposite_views_cost_4_a_dimension(self):
        signs = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # uncorrelated
        loss = cross_correlation(tf.constant(np.stack([signs, -signs])), redundancy_weight=1.0)
        self.assertAllClose(loss, 8.0, rtol=1e-4)

    def test_scale_and_offset_of_a_dimension_do_not_matter(self):
        embeddings = 100 * np.random.default_rng(0).normal(size=(2, 6, 3))
        losses = [
            cross_correlation(tf.constant(part), redundancy_weight=0.1)
            for part in (embeddings, embeddings * [1, 20, 7] + [0, 5, -1])
        ]
        self.assertAllClose(losses[0], losses[1], rtol=1e-6)

    def test_the_gradient_is_the_slope(self):
        along, slope = checks.slopes(
            lambda point: cross_correlation(point, redundancy_weight=0.1), checks.unit(2, 6, 3)
        )
        self.assertAllClose(along, slope, rtol=1e-6)

    def test_constant_and_huge_embeddings_stay_finite(self):
        # Without variance every correlation is 0: (1 − 0)² for each of the 3 dimensions.
        for point in (np.ones([2, 4, 3]), 1e6 * checks.unit(2, 4, 3)):
            found = checks.gradient(lambda point: cross_correlation(point, redundancy_weight=0.1), point)
            self.assertAllEqual(np.isfinite(found), np.ones([2, 4, 3], bool))
        self.assertAllClose(cross_correlation(tf.ones([2, 4, 3]), redundancy_weight=0.1), 3.0)

    def test_views_may_change_places(self):
        embeddings = checks.unit(3, 6, 4)
        losses = [
            cross_correlation(tf.constant(part), redundancy_weight=0.1) for part in (embeddings, embeddings[::-1])
        ]
        self.assertAllClose(losses[0], losses[1], rtol=1e-12)


if __name__ == "__main__":
    tf.test.main()
