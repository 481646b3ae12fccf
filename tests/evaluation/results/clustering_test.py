"""Tests of semppl.evaluation.results.clustering."""

import collections
import math
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from semppl.evaluation.results import clustering


def _entropy(counts, total):
    return -sum(count / total * math.log(count / total) for count in counts)


def _agreement(truth, found):
    """Normalised mutual information and adjusted Rand index, by their definitions."""
    total, pairs = len(truth), collections.Counter(zip(truth, found, strict=True))
    parts = [collections.Counter(truth), collections.Counter(found)]
    entropies = [_entropy(part.values(), total) for part in parts]
    information = sum(entropies) - _entropy(pairs.values(), total)
    together = sum(math.comb(count, 2) for count in pairs.values())
    apart = [sum(math.comb(count, 2) for count in part.values()) for part in parts]
    expected = apart[0] * apart[1] / math.comb(total, 2)
    return information / (sum(entropies) / 2), (together - expected) / (sum(apart) / 2 - expected)


class ClusteringTest(parameterized.TestCase):
    def test_agreement_matches_its_definitions(self):
        rng = np.random.default_rng(0)
        truth, found = rng.integers(0, 4, 60), rng.integers(0, 3, 60)
        with mock.patch.object(clustering.cluster, "KMeans") as model:
            model.return_value.fit_predict.return_value = found
            agreement = clustering.clustering_agreement(rng.standard_normal((60, 5)), truth, clusters=4)
        nmi, ari = _agreement(truth.tolist(), found.tolist())
        self.assertAlmostEqual(agreement["nmi"], nmi, delta=1e-9)
        self.assertAlmostEqual(agreement["ari"], ari, delta=1e-9)

    def test_separate_directions_are_found_whatever_their_lengths(self):
        truth = np.arange(40) % 4
        features = np.eye(4)[truth] * np.linspace(0.1, 100, 40)[:, np.newaxis]
        agreement = clustering.clustering_agreement(features, truth, clusters=4)
        self.assertAlmostEqual(agreement["nmi"], 1)
        self.assertAlmostEqual(agreement["ari"], 1)

    @parameterized.parameters((1, 3), (5, 1), (5, 1000))
    def test_few_images_one_class_and_many_classes_have_values(self, images, classes):
        agreement = clustering.clustering_agreement(np.ones((images, 3)), np.zeros(images, int), clusters=classes)
        self.assertTrue(all(math.isfinite(value) for value in agreement.values()))


if __name__ == "__main__":
    absltest.main()
