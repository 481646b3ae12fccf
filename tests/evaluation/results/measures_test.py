"""Tests of semppl.evaluation.results.measures."""

import unittest
import warnings

import numpy as np
from absl.testing import absltest, parameterized
from sklearn import metrics

from semppl.evaluation.results import measures

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        # scikit-learn's measures replace these oracles where tensorflow-addons is not installed.
        from tensorflow_addons import metrics as addons_metrics
except ImportError:
    addons_metrics = None


def _drawn(seed, classes=5, count=200):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count) * 3  # not all numbers are classes
    return np.where(rng.uniform(size=count) < 0.6, truth, rng.integers(0, classes, count) * 3), truth


class MeasuresTest(parameterized.TestCase):
    @parameterized.parameters(range(5))
    def test_measures_are_those_of_scikit_learn(self, seed):
        classes, truth = _drawn(seed)
        truth[truth == 12] = 0  # a class that is predicted, and does not occur
        for function, expected in (
            (measures.accuracy, metrics.accuracy_score(truth, classes)),
            (measures.cohen_kappa, metrics.cohen_kappa_score(truth, classes)),
            (measures.macro_f1, metrics.f1_score(truth, classes, average="macro")),
        ):
            self.assertAlmostEqual(function(classes, truth), expected, delta=1e-12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of the class that does not occur
            expected = metrics.balanced_accuracy_score(truth, classes)
        self.assertAlmostEqual(measures.balanced_accuracy(classes, truth), expected, delta=1e-12)

    @unittest.skipUnless(addons_metrics, "tensorflow-addons is not installed")
    def test_kappa_and_f1_are_those_of_tensorflow_addons(self):
        classes, truth = (part // 3 for part in _drawn(7))
        kappa, f1 = addons_metrics.CohenKappa(5, sparse_labels=True), addons_metrics.F1Score(5, average="macro")
        kappa.update_state(truth, classes)
        f1.update_state(np.eye(5)[truth], np.eye(5)[classes])
        self.assertAlmostEqual(measures.cohen_kappa(classes, truth), float(kappa.result()), delta=1e-6)
        self.assertAlmostEqual(measures.macro_f1(classes, truth), float(f1.result()), delta=1e-6)

    def test_kappa_matches_its_definition(self):
        # 4 of 6 agree; chance: (3·4 + 2·1 + 1·1) / 36 = 15/36.
        classes, truth = np.array([0, 0, 0, 0, 1, 2]), np.array([0, 0, 0, 1, 1, 2])
        truth[5] = 1
        chance = (4 * 3 + 1 * 3 + 1 * 0) / 36
        self.assertAlmostEqual(measures.cohen_kappa(classes, truth), (4 / 6 - chance) / (1 - chance))

    def test_one_class_alone_or_one_picture_has_values(self):
        for truth in (np.zeros(4, int), np.zeros(1, int)):
            self.assertEqual(measures.cohen_kappa(truth, truth), 0)
            for function in (measures.accuracy, measures.balanced_accuracy, measures.macro_f1):
                self.assertEqual(function(truth, truth), 1)

    def test_a_thousand_classes_are_measured(self):
        truth = np.arange(1000)
        classes = np.where(truth % 4 == 0, truth, 1)
        self.assertAlmostEqual(measures.macro_f1(classes, truth), metrics.f1_score(truth, classes, average="macro"))
        self.assertAlmostEqual(measures.cohen_kappa(classes, truth), metrics.cohen_kappa_score(truth, classes))


if __name__ == "__main__":
    absltest.main()
