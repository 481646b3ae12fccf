"""Tests of semppl.evaluation.logistic_regression."""

from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from sklearn import model_selection

from semppl.evaluation import logistic_regression
from semppl.evaluation.logistic_regression import logistic_regression_classes


def _blobs(count, seed, spread=0.5):
    """Three classes around three corners of a space where each axis has a scale of its own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3 + 4
    points = 3 * np.eye(3)[labels - 4] + spread * rng.standard_normal((count, 3))
    return points * [1e-3, 1.0, 1e3], labels


class LogisticRegressionTest(parameterized.TestCase):
    @parameterized.parameters(3, 6, 60)
    def test_classes_that_lie_apart_are_told_apart_whatever_the_scale(self, count):
        features, labels = _blobs(count, 0)
        queries, truth = _blobs(300, 1)
        classes = logistic_regression_classes(features, labels, queries)
        self.assertGreater(np.mean(classes == truth), 0.97)

    def test_one_example_a_class_is_fitted_with_unit_strength(self):
        # Features −1 and 1, so standardised already, and by symmetry the border is at 0 for any strength.
        classes = logistic_regression_classes(np.array([[-1.0], [1.0]]), np.array([3, 8]), np.array([[-0.1], [0.1]]))
        self.assertEqual(classes.tolist(), [3, 8])

    def test_the_strength_is_the_one_that_serves_images_held_out(self):
        features, labels = _blobs(90, 0)
        keep = np.flatnonzero((labels == 4) | (np.arange(90) < 45))  # the first class is the largest
        features, labels = features[keep], labels[keep]
        queries, truth = _blobs(300, 1)
        for strengths, expected in (
            ([1e-9], 1 / 3),
            ([1e-9, 1.0], 1.0),
        ):  # so strong that the largest class always wins
            with mock.patch.object(logistic_regression, "_STRENGTHS", strengths):
                classes = logistic_regression_classes(features, labels, queries)
            self.assertAlmostEqual(np.mean(classes == truth), expected, delta=0.03)

    def test_the_answer_is_the_same_every_time(self):
        features, labels = _blobs(40, 0, spread=4.0)
        queries, _ = _blobs(200, 1, spread=4.0)
        first, second = (logistic_regression_classes(features, labels, queries) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_of_many_images_one_part_is_held_out(self):
        features, labels = _blobs(logistic_regression._MANY, 0)
        queries, truth = _blobs(300, 1)
        with mock.patch.object(model_selection, "StratifiedKFold", side_effect=AssertionError("five parts")):
            classes = logistic_regression_classes(features, labels, queries)
        self.assertGreater(np.mean(classes == truth), 0.97)


if __name__ == "__main__":
    absltest.main()
