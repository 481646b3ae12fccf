"""Tests of the choice of pictures to label: semppl.evaluation.advice.typicality, coverage, uncertainty and selection."""

import json
import math
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from sklearn import cluster

from semppl.evaluation.advice import coverage, selection, typicality
from semppl.evaluation.advice.coverage import covered_share, covering_radius, covering_rows
from semppl.evaluation.advice.selection import suggest_rows
from semppl.evaluation.advice.typicality import typical_rows
from semppl.evaluation.advice.uncertainty import margins, uncertain_rows
from semppl.evaluation.logistic_regression import fit_logistic_regression
from semppl.tests.evaluation.advice import selection_recorded


def blobs(seed, sizes=(30, 20, 12, 8, 3), width=6, spread=0.3):
    """Bundles of directions, of these sizes; returns features of any norm and the bundle of each."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    centres = np.linalg.qr(rng.standard_normal((width, width)))[0][: len(sizes)]
    features = centres[truth] + spread * rng.standard_normal((len(truth), width))
    return features * rng.uniform(0.5, 2, (len(truth), 1)), truth


def _distance(first, second):
    norms = [math.sqrt(sum(float(v) ** 2 for v in row)) for row in (first, second)]
    parts = zip(first, second, strict=True)
    return math.sqrt(sum((float(a) / norms[0] - float(b) / norms[1]) ** 2 for a, b in parts))


def _typical_oracle(features, labels, count, clusters):
    """TypiClust in plain loops, as its authors' code has it; smaller clusters come last."""
    left = {name: [i for i, c in enumerate(clusters) if c == name and labels[i] < 0] for name in set(clusters)}
    size = {name: sum(c == name for c in clusters) for name in left}
    known = {name: sum(c == name and label >= 0 for c, label in zip(clusters, labels, strict=True)) for name in left}
    order = sorted(left, key=lambda name: (known[name], -size[name], name))
    chosen = []
    for group in ([n for n in order if size[n] > 5], [n for n in order if size[n] <= 5]):
        while len(chosen) < count and any(left[name] for name in group):
            for name in group:
                if left[name] and len(chosen) < count:
                    near = max(1, min(20, len(left[name]) // 2))
                    typical = {}
                    for i in left[name]:
                        apart = sorted(_distance(features[i], features[j]) for j in left[name] if j != i)[:near]
                        typical[i] = 1 / (sum(apart) / max(len(apart), 1) + 1e-5)
                    chosen.append(max(left[name], key=typical.get))
                    left[name].remove(chosen[-1])
    return chosen


class TypicalityTest(parameterized.TestCase):
    @parameterized.product(seed=(0, 1), count=(3, 9, 40), labelled=(0, 6))
    def test_pictures_are_those_of_plain_loops(self, seed, count, labelled):
        features, truth = blobs(seed, sizes=(45, 20, 12, 8, 3))
        labels = np.full(len(truth), -1)
        labels[np.random.default_rng(seed).permutation(len(truth))[:labelled]] = 1
        clusters = typicality.clustered(typicality.unit(features), count + labelled, seed=0)
        expected = _typical_oracle(features, labels.tolist(), count, clusters.tolist())
        self.assertEqual(typical_rows(features, labels, count).tolist(), expected)

    def test_there_are_as_many_clusters_as_labels_and_at_most_500(self):
        for wanted, rows, kind, expected in (
            (7, 90, "KMeans", 7),
            (50, 90, "KMeans", 50),
            (51, 90, "MiniBatchKMeans", 51),
            (900, 600, "MiniBatchKMeans", 500),
            (40, 30, "KMeans", 30),
        ):
            with mock.patch.object(cluster, kind, wraps=getattr(cluster, kind)) as made:
                typicality.clustered(np.random.default_rng(0).standard_normal((rows, 4)), wanted, seed=3)
            self.assertEqual((made.call_args.args, made.call_args.kwargs["random_state"]), ((expected,), 3))
            self.assertEqual(made.call_args.kwargs.get("batch_size", 5000), 5000)

    def test_every_picture_can_be_chosen_and_none_twice(self):
        features, truth = blobs(0, sizes=(7, 6, 2))
        labels = np.where(np.arange(len(truth)) == 3, 0, -1)
        rows = typical_rows(features, labels, len(truth) - 1)
        self.assertCountEqual(rows.tolist(), [row for row in range(len(truth)) if row != 3])
        self.assertEqual(typical_rows(features[:1], labels[:1], 1).tolist(), [0])

    def test_equal_pictures_have_finite_typicality(self):
        for count in (1, 4):
            self.assertAlmostEqual(typicality.typicality(np.ones((count, 1)))[0], 1e5, delta=1)


class CoverageTest(parameterized.TestCase):
    @parameterized.product(seed=(0, 1, 2), radius=(0.4, 0.9), labelled=(0, 5))
    def test_pictures_are_those_of_plain_loops(self, seed, radius, labelled):
        features, truth = blobs(seed, sizes=(20, 9, 4))
        labels = np.full(len(truth), -1)
        labels[np.random.default_rng(seed).permutation(len(truth))[:labelled]] = 0
        free = [i for i in range(len(truth)) if labels[i] < 0]
        near = {i: {j for j in free if _distance(features[i], features[j]) < radius} | {i} for i in free}
        covered = {j for j in free for i in np.flatnonzero(labels >= 0) if _distance(features[i], features[j]) < radius}
        share = (len(covered) + labelled) / len(truth)
        self.assertAlmostEqual(covered_share(features, labels, radius=radius), share)
        chosen = []
        for _ in range(12):
            if len(covered) == len(free):
                covered = set(chosen)
            chosen.append(max((i for i in free if i not in chosen), key=lambda i: (len(near[i] - covered), -i)))
            covered |= near[chosen[-1]]
        self.assertEqual(covering_rows(features, labels, 12, radius=radius).tolist(), chosen)

    @parameterized.parameters(0, 1, 2, 3)
    def test_the_radius_is_the_largest_that_is_pure(self, seed):
        features, _ = blobs(seed, sizes=(20, 20, 20), spread=0.1 + 0.1 * seed)
        clusters = typicality.clustered(typicality.unit(features), 3, seed=0)
        pure = [0.1]
        for step in range(39):
            radius = 0.1 + 0.05 * step
            balls = [
                {clusters[j] for j in range(60) if j == i or _distance(features[i], features[j]) < radius - 1e-9}
                for i in range(60)
            ]
            if sum(len(ball) == 1 for ball in balls) >= 0.95 * 60:
                pure.append(radius)
        self.assertAlmostEqual(covering_radius(features, 3), max(pure))

    def test_many_pictures_are_drawn(self):
        features, truth = blobs(0)
        with mock.patch.object(coverage, "_MOST", 20):
            rows = covering_rows(features, np.full(len(truth), -1), 25, radius=0.5)
            self.assertLess(covering_radius(features, 5), 2.0)
        self.assertLen(set(rows.tolist()), 25)


class UncertaintyTest(parameterized.TestCase):
    @parameterized.product(seed=(0, 1), count=(3, 6))
    def test_pictures_are_the_nearest_to_centres_of_uncertain_ones(self, seed, count):
        features, truth = blobs(seed, sizes=(40, 40, 40), spread=0.5)
        labels = np.where(np.arange(len(truth)) % 8 == 0, truth, -1)
        known, free = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
        model = fit_logistic_regression(features[known], labels[known], population=features)
        doubt = []
        for logits in model.logits(features[free]):
            chances = sorted(math.exp(v - max(logits)) / sum(math.exp(w - max(logits)) for w in logits) for v in logits)
            doubt.append(1 - (chances[-1] - chances[-2]))
        order = sorted(range(len(free)), key=lambda i: -doubt[i])[: 10 * count]
        candidates = np.array([features[free[i]] / np.linalg.norm(features[free[i]]) for i in order])
        weights = [doubt[i] for i in order]
        fitted = cluster.KMeans(count, n_init=1, random_state=0).fit(candidates, sample_weight=weights)
        chosen = []
        for name in range(count):
            members = [p for p in range(len(order)) if fitted.labels_[p] == name]
            chosen.append(min(members, key=lambda p: np.linalg.norm(candidates[p] - fitted.cluster_centers_[name])))
        expected = [int(free[order[place]]) for place in sorted(chosen)]
        self.assertEqual(uncertain_rows(features, labels, count).tolist(), expected)

    def test_ten_times_as_many_pictures_as_wanted_are_clustered(self):
        features, truth = blobs(0, sizes=(40, 40, 40), spread=0.5)
        labels = np.where(np.arange(len(truth)) % 8 == 0, truth, -1)
        interrupted = mock.patch.object(cluster.KMeans, "fit", side_effect=InterruptedError)
        with interrupted as fit, self.assertRaises(InterruptedError):
            uncertain_rows(features, labels, 4)
        self.assertLen(fit.call_args.args[0], 40)

    def test_the_margin_is_that_of_the_two_largest(self):
        self.assertAlmostEqual(margins(np.array([[0.2, 0.5, 0.3]]))[0], 0.2)

    def test_equal_pictures_are_filled_up(self):
        features = np.concatenate([np.eye(2), np.ones((5, 2))])
        labels = np.array([0, 1, -1, -1, -1, -1, -1])
        self.assertCountEqual(uncertain_rows(features, labels, 4).tolist(), [2, 3, 4, 5])


class RecordedTest(parameterized.TestCase):
    @parameterized.parameters(*selection_recorded.CASES)
    def test_pictures_are_those_of_scikit_activeml(self, seed, spread):
        # There, ProbCover's balls are closed, and its choice is random among equals and once all is covered.
        recorded = json.loads(selection_recorded.FILE.read_text(encoding="utf-8"))[f"{seed} {spread}"]
        features, labels = selection_recorded.case(seed, spread)
        self.assertEqual(typical_rows(features, labels, 4).tolist(), recorded["typical"])
        self.assertAlmostEqual(covering_radius(features, len(selection_recorded.SIZES)), recorded["radius"])
        count = len(recorded["covering"])
        self.assertGreater(count, 2)
        rows = covering_rows(features, labels, count, radius=recorded["radius"])
        self.assertEqual(rows.tolist(), recorded["covering"])


class SuggestTest(parameterized.TestCase):
    def _chosen(self, labels, num_classes=2, **settings):
        features, _ = blobs(0, sizes=(20, 20), spread=0.05)
        return suggest_rows(features, np.array(labels), num_classes, 3, **settings)[1]

    def test_typical_ones_come_first_and_uncertain_ones_when_classes_have_ten_labels(self):
        none, nine, ten = (
            [0] * n + [-1] * (20 - n) + [1] * m + [-1] * (20 - m) for n, m in ((0, 0), (10, 9), (10, 10))
        )
        self.assertStartsWith(self._chosen(none), "typical")
        with mock.patch.object(selection, "covered_share", return_value=0.5):
            self.assertStartsWith(self._chosen(nine), "typical")
            self.assertStartsWith(self._chosen(ten), "uncertain")
            self.assertStartsWith(self._chosen(ten, num_classes=3), "typical")  # the third class has none
        with mock.patch.object(selection, "covered_share", return_value=0.51):
            self.assertStartsWith(self._chosen(nine), "uncertain")
            self.assertStartsWith(self._chosen([0] * 10 + [-1] * 30), "typical")  # of one class

    def test_a_strategy_can_be_named(self):
        labels = [0] + [-1] * 19 + [1] + [-1] * 19
        for name in ("typical", "uncertain"):
            self.assertStartsWith(self._chosen(labels, strategy=name), f"{name} and diverse pictures: --choose={name}")
        self.assertStartsWith(self._chosen(labels, strategy="coverage"), "pictures that cover most others")

    def test_a_thousand_classes_have_room(self):
        rng = np.random.default_rng(0)
        features, labels = rng.standard_normal((2100, 32)), np.full(2100, -1)
        labels[:1000] = np.arange(1000)
        with mock.patch.object(selection, "covering_radius", return_value=0.1):
            rows, why = suggest_rows(features, labels, 1000, 5)
        self.assertLen(set(rows.tolist()), 5)
        self.assertStartsWith(why, "typical")

    def test_what_cannot_be_chosen_is_refused(self):
        for count in (0, 4):
            with self.assertRaisesRegex(ValueError, f"^--count must be in 1..3, .* Received: {count}$"):
                suggest_rows(np.eye(4), np.array([-1, -1, -1, 0]), 1, count)
        with self.assertRaisesRegex(ValueError, "^--choose must be typical or coverage .* Received: uncertain$"):
            suggest_rows(np.eye(4), np.array([-1, -1, -1, 0]), 1, 1, strategy="uncertain")


if __name__ == "__main__":
    absltest.main()
