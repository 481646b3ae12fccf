"""Tests of semppl.export.memory.ood_score."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from sklearn.covariance import EmpiricalCovariance

from semppl.export.memory import ood_score
from semppl.export.memory.ood_score import OodScore, fit_ood_score
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)


class OodScoreTest(tf.test.TestCase, parameterized.TestCase):
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

    @parameterized.named_parameters(
        ("zeros", np.zeros([8, 3])),
        ("equal numbers", np.full([8, 3], 5.0)),
        ("equal but for rounding", 1e4 + 1e-3 * np.random.default_rng(2).standard_normal([8, 3])),
    )
    def test_of_features_without_variance_the_distance_is_euclidean(self, features):
        score = fit_ood_score(features.astype(np.float32))
        self.assertAllEqual(score.whitening, np.eye(3))
        query = features[:1] + np.array([[3.0, 4.0, 0.0]])
        answer = score.percentile(tf.constant(query, tf.float32))
        self.assertAllClose(answer["distance"], [5.0], atol=0.01)
        self.assertAllEqual(answer["ood"], [100.0])

    def test_of_images_like_the_training_images_one_in_twenty_lies_above_the_95th_percentile(self):
        rng = np.random.default_rng(1)
        score = fit_ood_score(rng.standard_normal((4000, 6)).astype(np.float32))
        same, scaled = rng.standard_normal((4000, 6)), 3 * rng.standard_normal((4000, 6))
        above = [np.mean(score.percentile(tf.constant(x, tf.float32))["ood"] > 95) for x in (same, scaled)]
        self.assertBetween(above[0], 0.03, 0.07)
        self.assertGreater(above[1], 0.7)

    def test_the_covariance_is_shrunk_as_by_ledoit_and_wolf_in_plain_loops(self):
        features = np.random.default_rng(3).standard_normal((24, 4)) * [3, 1, 0.5, 0.1]
        fitted = features[::2] - features[::2].mean(0)
        count, width = fitted.shape
        sample = sum(np.outer(row, row) for row in fitted) / count
        scale = np.trace(sample) / width
        apart = np.sum((sample - scale * np.eye(width)) ** 2)
        noise = sum(np.sum((np.outer(row, row) - sample) ** 2) for row in fitted) / count**2
        shrinkage = min(noise, apart) / apart
        self.assertBetween(shrinkage, 0.05, 0.5)
        covariance = (1 - shrinkage) * sample + shrinkage * scale * np.eye(width)
        away = features - features[::2].mean(0)
        expected = np.sqrt(np.einsum("nf,fg,ng->n", away, np.linalg.inv(covariance), away))
        answer = fit_ood_score(features.astype(np.float32)).percentile(tf.constant(features, tf.float32))
        self.assertAllClose(answer["distance"], expected, rtol=1e-4)

    def test_a_variance_has_a_floor_of_a_millionth_of_the_mean_variance(self):
        rng = np.random.default_rng(4)
        features = rng.standard_normal((20_000, 2)) * [1, 1e-5]
        with mock.patch.object(ood_score, "LedoitWolf", EmpiricalCovariance):  # which shrinks nothing
            score = fit_ood_score(features.astype(np.float32))
        scales = np.sort(np.linalg.norm(score.whitening.numpy(), axis=0))
        variance = features[::2, 0].var()
        self.assertAllClose(scales, [variance**-0.5, (1e-6 * variance / 2) ** -0.5], rtol=1e-3)

    @parameterized.parameters((1, 5), (2, 5), (3, 5), (40, 1))
    def test_of_few_images_or_constant_features_the_distance_is_euclidean_and_a_copy_is_at_the_centre(
        self, count, width
    ):
        features = np.tile(np.linspace(0.1, 0.7, width).astype(np.float32), [count, 1])
        if count == 2:
            features[1] += 0.5
        score = fit_ood_score(features)
        queries = np.stack([features[0], features[0] + 0.1])
        answer = score.percentile(tf.constant(queries))
        self.assertAllClose(answer["distance"], [0, 0.1 * width**0.5], atol=1e-6)
        self.assertAllEqual(answer["ood"], [0, 0 if count == 2 else 100])

    def test_fewer_images_than_features_will_do(self):
        features = np.random.default_rng(2).standard_normal((20, 50)).astype(np.float32)
        features[:, 7] = 0  # a unit that never fires
        score = fit_ood_score(features)
        self.assertEqual(score.distances.shape, [10])
        self.assertTrue(np.isfinite(score.distances.numpy()).all())


if __name__ == "__main__":
    tf.test.main()
