"""Tests of semppl.evaluation.advice.vote and semppl.evaluation.advice.suspicion."""

import importlib.util
import math
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from semppl.evaluation.advice import suspicion, vote
from semppl.evaluation.advice.suspicion import conflicting, doubt_labels, outliers, ranked
from semppl.evaluation.neighbours.directions import distances, unit
from semppl.evaluation.neighbours.nearest_neighbours import nearest


def _bundles(seed, count=90, classes=3, width=5, spread=0.4):
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % classes
    return np.eye(width)[truth] + spread * rng.standard_normal((count, width)), truth


def _cosine(first, second):
    dot = sum(float(a) * float(b) for a, b in zip(first, second, strict=True))
    return dot / math.sqrt(sum(float(a) ** 2 for a in first) * sum(float(b) ** 2 for b in second))


def _votes_oracle(query, memory, labels, classes, size):
    """Returns the shares of the classes, and the voters, in plain loops."""
    near = sorted(memory, key=lambda i: -_cosine(query, memory[i]))[:size]
    weights = {i: math.exp(_cosine(query, memory[i]) / 0.1) for i in near}
    total = sum(weights.values())
    return [sum(weights[i] for i in near if labels[i] == name) / total for name in classes], near


class DirectionsTest(parameterized.TestCase):
    @parameterized.parameters(0, 1)
    def test_the_nearest_are_those_of_a_sort_and_ties_go_to_the_smaller_row(self, seed):
        random = np.random.default_rng(seed)
        directions = unit(np.eye(3)[random.integers(0, 3, 40)] * random.choice([-1, 0, 1], (40, 1)))
        similarities, rows = nearest(directions, directions, 12, own=np.arange(40), chunk=7, block=9)
        for query in range(40):
            scores = [float(np.dot(directions[query], other)) for other in directions]
            expected = sorted((other for other in range(40) if other != query), key=lambda i: -scores[i])
            np.testing.assert_allclose(similarities[query], [scores[i] for i in expected[:12]], atol=1e-12)
            self.assertEqual(sorted(rows[query].tolist(), key=lambda i: (-scores[i], i)), rows[query].tolist())
            self.assertNotIn(query, rows[query])
        self.assertEqual(nearest(directions, directions, 0, own=np.arange(40))[0].shape, (40, 0))

    def test_distances_are_those_of_unit_vectors(self):
        for angle in (0.0, 0.3, 2.0, math.pi):
            self.assertAlmostEqual(distances(np.cos(angle)), 2 * math.sin(angle / 2), places=6)
        self.assertEqual(distances(np.array(1.0000001)), 0)


class DoubtsTest(parameterized.TestCase):
    @parameterized.product(seed=(0, 1), known=(12, 60))
    def test_votes_and_margins_are_those_of_plain_loops(self, seed, known):
        features, truth = _bundles(seed)
        rows = sorted(np.random.default_rng(seed).permutation(90)[:known].tolist())
        labels = np.full(90, -1)
        labels[rows] = 2 * truth[rows]  # of classes 0, 2 and 4
        labels[rows[0]] = 4 if labels[rows[0]] != 4 else 0
        with mock.patch.object(suspicion, "has_extra", return_value=False):
            doubts = doubt_labels(features, labels)
        self.assertEqual(doubts.rows.tolist(), rows)
        for place, row in enumerate(rows):
            others = {i: features[i] for i in rows if i != row}
            shares, near = _votes_oracle(features[row], others, labels, [0, 2, 4], min(20, known - 1))
            np.testing.assert_allclose(doubts.ballot.shares[place], shares, atol=1e-9)
            self.assertEqual([rows[voter] for voter in doubts.ballot.voters[place]], near)
            own = [0, 2, 4].index(labels[row])
            margin = (shares[own] - max(share for name, share in enumerate(shares) if name != own) + 1) / 2
            self.assertAlmostEqual(doubts.margins[place], margin)
            self.assertEqual(doubts.classes[place], [0, 2, 4][shares.index(max(shares))])
        np.testing.assert_array_equal(doubts.scores, doubts.margins)
        self.assertIsNone(doubts.issues)

    def test_planted_errors_come_first(self):
        features, labels = _bundles(3, spread=0.15)
        labels[[5, 40, 77]] = (labels[[5, 40, 77]] + 1) % 3
        doubts = doubt_labels(features, labels)
        self.assertCountEqual(doubts.rows[np.argsort(doubts.scores)[:3]].tolist(), [5, 40, 77])

    @absltest.skipUnless(importlib.util.find_spec("cleanlab"), "no cleanlab: the extra quality")
    def test_scores_are_those_of_cleanlab(self):
        from cleanlab import filter as confident_learning
        from cleanlab import rank

        features, labels = _bundles(2, spread=0.5)
        doubts = doubt_labels(features, labels)
        shares = doubts.ballot.shares
        np.testing.assert_allclose(doubts.margins, rank.get_normalized_margin_for_each_label(labels, shares))
        expected = rank.get_label_quality_scores(labels, shares, method="normalized_margin", adjust_pred_probs=True)
        np.testing.assert_allclose(doubts.scores, expected)
        np.testing.assert_array_equal(doubts.issues, confident_learning.find_label_issues(labels, shares))


class OutliersTest(parameterized.TestCase):
    @parameterized.parameters(0, 1, 2)
    def test_outliers_are_those_of_plain_loops(self, seed):
        features, _ = _bundles(seed, spread=0.2)
        features[[7, 30]] = [[-1, -1, -1, 0, 0], [0, 0, -1, 0, -1]]
        apart, rows = outliers(features)
        expected = []
        for row in range(90):
            near = sorted(1 - _cosine(features[row], features[i]) for i in range(90) if i != row)[:10]
            expected.append(sum(near) / 10)
        np.testing.assert_allclose(apart, expected, atol=1e-9)
        ordered = sorted(expected)

        def quantile(share):
            place = share * 89
            low = int(place)
            return ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])

        cut = quantile(0.75) + 1.7 * (quantile(0.75) - quantile(0.25))
        beyond = [row for row in sorted(range(90), key=lambda row: -expected[row]) if expected[row] > cut]
        self.assertEqual(rows.tolist(), beyond)
        self.assertContainsSubset([7, 30], beyond)

    def test_one_picture_is_like_everything(self):
        self.assertEmpty(outliers(np.ones((1, 3)))[1])


class RankedTest(parameterized.TestCase):
    def test_duplicates_come_first_then_labels_by_their_score_then_outliers_and_each_once(self):
        features, labels = _bundles(3, spread=0.15)
        labels[5] = (labels[5] + 1) % 3
        with mock.patch.object(suspicion, "has_extra", return_value=False):
            doubts = doubt_labels(features, labels)
        groups = conflicting([(1, 2, 4), (0, 3)], labels)
        self.assertEqual(groups, [(1, 2, 4)])
        names = ("a", "b", "c")
        found = ranked(doubts, groups, [5, 9], class_names=names, count=50)
        self.assertEqual([suspect.row for suspect in found], [1, 2, 4, 5, 9])
        self.assertEqual(found[0].neighbours, (2, 4))
        self.assertEqual(found[0].reasons, ("a duplicate has another label (2)",))
        self.assertEqual(found[3].neighbours_label, names[(labels[5] - 1) % 3])
        self.assertEqual(found[3].reasons[1], "unlike all other pictures")
        self.assertRegex(found[3].reasons[0], r"^\d+% of the neighbours' votes for [abc]$")
        self.assertLen(found[3].neighbours, 3)
        self.assertLen(ranked(doubts, groups, [5, 9], class_names=names, count=2), 2)

    def test_labels_of_one_class_are_not_doubted(self):
        found = ranked(None, [], [4], class_names=("a",), count=5)
        self.assertEqual((found[0].row, found[0].neighbours_label, found[0].neighbours), (4, "", ()))
        self.assertTrue(math.isnan(found[0].score))

    def test_what_confident_learning_takes_for_wrong_is_listed(self):
        ballot = vote.Ballot(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[1], [0]]), np.ones((2, 1)))
        numbers = np.array([0, 1])
        doubts = suspicion.Doubts(numbers, ballot, numbers, np.array([0.9, 0.8]), np.ones(2), np.array([False, True]))
        found = ranked(doubts, [], [], class_names=("a", "b"), count=5)
        self.assertEqual([suspect.row for suspect in found], [1])
        self.assertEqual(found[0].reasons[1], "a label issue by confident learning")

    @parameterized.parameters((None,), ([False] * 4,))
    def test_a_label_is_doubtful_from_less_than_half_of_the_margin_on(self, issues):
        ballot = vote.Ballot(np.full((4, 2), 0.5), np.zeros((4, 1), int), np.ones((4, 1)))
        margins, numbers = np.array([0.5, 0.49, 0.52, 0.1]), np.arange(4)
        issues = None if issues is None else np.array(issues)
        doubts = suspicion.Doubts(numbers, ballot, np.zeros(4, int), margins, margins, issues)
        self.assertEqual([suspect.row for suspect in ranked(doubts, [], [], class_names=("a",), count=9)], [3, 1])

    def test_rows_without_a_label_do_not_conflict(self):
        self.assertEmpty(conflicting([(0, 1)], np.array([0, -1])))


if __name__ == "__main__":
    absltest.main()
