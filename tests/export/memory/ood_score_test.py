"""Tests of semppl.export.memory.ood_score."""

import numpy as np
import tensorflow as tf

from semppl.export.memory.ood_score import OodScore, fit_ood_score
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)


class OodScoreTest(tf.test.TestCase):
    def test_the_percentile_is_the_share_of_reference_images_that_are_not_farther(self):
        score = OodScore(np.array([1.0, 2.0]), np.diag([1.0, 0.5]), np.array([0.5, 1.0, 1.0, 4.0]))
        answer = score.percentile(tf.constant([[1.0, 2.0], [2.0, 2.0], [1.0, 8.0], [4.0, 10.0]]))
        self.assertAllClose(answer["distance"], [0, 1, 3, 5])  # (3, 8) is (3, 4) in standard deviations
        self.assertAllClose(answer["ood"], [0, 75, 75, 100])
        self.assertEqual(answer["ood"].dtype, tf.float32)

    def test_the_distance_is_that_of_mahalanobis(self):
        rng = np.random.default_rng(0)
        mixed = np.array([[1, 0.5, 0], [0, 1, -0.5], [0.3, 0, 1]])
        features = (rng.standard_normal((4000, 3)) @ mixed + 3).astype(np.float32)
        half = features[::2].astype(np.float64)
        precision = np.linalg.inv(np.cov(half.T))
        away = features[1::2] - half.mean(0)
        expected = np.sqrt(np.einsum("nf,fg,ng->n", away, precision, away))
        score = fit_ood_score(features)
        self.assertAllClose(score.distances, np.sort(expected), rtol=0.05)
        self.assertAllClose(score.percentile(tf.constant(features[1::2]))["distance"], expected, rtol=0.05)

    def test_of_images_like_the_training_images_one_in_twenty_lies_above_the_95th_percentile(self):
        rng = np.random.default_rng(1)
        score = fit_ood_score(rng.standard_normal((4000, 6)).astype(np.float32))
        same, scaled = rng.standard_normal((4000, 6)), 3 * rng.standard_normal((4000, 6))
        above = [np.mean(score.percentile(tf.constant(x, tf.float32))["ood"] > 95) for x in (same, scaled)]
        self.assertBetween(above[0], 0.03, 0.07)
        self.assertGreater(above[1], 0.7)

    def test_fewer_images_than_features_will_do(self):
        features = np.random.default_rng(2).standard_normal((20, 50)).astype(np.float32)
        features[:, 7] = 0  # a unit that never fires
        score = fit_ood_score(features)
        self.assertEqual(score.distances.shape, [10])
        self.assertTrue(np.isfinite(score.distances.numpy()).all())


if __name__ == "__main__":
    tf.test.main()
