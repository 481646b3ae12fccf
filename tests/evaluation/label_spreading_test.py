"""Tests of semppl.evaluation.neighbours.label_spreading."""

import math
import warnings
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from sklearn import model_selection, semi_supervised

from semppl.evaluation.logistic_regression import fit_by_default
from semppl.evaluation.neighbours import label_spreading
from semppl.evaluation.neighbours.label_spreading import label_spreading_classes, spread_labels
from semppl.evaluation.neighbours.nearest_neighbours import nearest


def _nearest(directions, count):
    return nearest(directions, directions, count)[1]


def _moons(seed, count=90, labelled=12, classes=3, noise=0.35):
    """Bands that run beside each other, in a space whose axes differ in scale; the labels of a few are known."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % classes
    along = rng.uniform(-2, 2, count)
    features = np.stack([along, np.sin(along) + truth, np.cos(2 * along)], 1) + noise * rng.standard_normal((count, 3))
    known = np.full(count, -1)
    known[:labelled] = truth[:labelled]
    return features * [1.0, 10.0, 0.1] + 5, truth, known


def _directions(features):
    rows = [[float(value) for value in row] for row in features]
    columns = list(zip(*rows, strict=True))
    means = [sum(column) / len(column) for column in columns]
    deviations = [
        math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))
        for column, mean in zip(columns, means, strict=True)
    ]
    scaled = [[(v - m) / d for v, m, d in zip(row, means, deviations, strict=True)] for row in rows]
    return [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in scaled]


def _spread_oracle(directions, labels, neighbours, alpha=0.8, steps=30):
    """Zhou et al.'s iteration F ← αSF + (1−α)Y in plain loops; S divides by the roots of both ends' in-degrees."""
    count, names = len(labels), sorted(set(labels.tolist()) - {-1})
    near = []
    for row in directions:
        similarities = [sum(a * b for a, b in zip(row, other, strict=True)) for other in directions]
        near.append(sorted(range(count), key=lambda i, s=similarities: -s[i])[:neighbours])
    degree = [sum(j in near[i] for i in range(count) if i != j) or 1 for j in range(count)]
    start = [[float(label == name) for name in names] for label in labels]
    shares, former = [list(row) for row in start], [[0.0] * len(names) for _ in start]
    for _ in range(steps):
        change = sum(abs(a - b) for new, old in zip(shares, former, strict=True) for a, b in zip(new, old, strict=True))
        if change < 1e-3:
            break
        former = shares
        shares = [
            [
                alpha * sum(former[j][c] / math.sqrt(degree[i] * degree[j]) for j in near[i] if j != i)
                + (1 - alpha) * start[i][c]
                for c in range(len(names))
            ]
            for i in range(count)
        ]
    return [names[row.index(max(row))] if sum(row) > 0 else -1 for row in shares]


class LabelSpreadingTest(parameterized.TestCase):
    def test_a_constant_feature_has_no_part_in_directions(self):
        features, _, _ = _moons(0)
        constant = np.concatenate([features, np.full([len(features), 1], 7.0)], 1)
        directions = label_spreading._standardised_directions(constant)
        np.testing.assert_array_equal(directions[:, -1], 0)
        np.testing.assert_allclose(directions[:, :-1], _directions(features), atol=1e-9)

    @parameterized.product(seed=(0, 1), neighbours=(1, 4, 9))
    def test_labels_spread_as_in_plain_loops(self, seed, neighbours):
        features, _, known = _moons(seed, labelled=6)
        nearest = _nearest(label_spreading._standardised_directions(features), neighbours)
        spread = spread_labels(label_spreading._graph(nearest), known)
        self.assertEqual(spread.tolist(), _spread_oracle(_directions(features), known, neighbours))

    def test_labels_spread_as_with_the_graph_of_scikit_learn(self):
        features, _, known = _moons(3)
        directions = label_spreading._standardised_directions(features)
        nearest = _nearest(directions, 9)
        expected = semi_supervised.LabelSpreading(kernel="knn", n_neighbors=9, alpha=0.8).fit(directions, known)
        self.assertEqual(
            spread_labels(label_spreading._graph(nearest), known).tolist(), expected.transduction_.tolist()
        )

    @parameterized.parameters(0, 2, 10, 17)  # 15 wins; a tie of all three; 30 wins; a tie of 30 and 15
    def test_the_classes_are_those_of_the_best_of_three_sizes(self, seed):
        features, truth, known = _moons(seed, count=100, labelled=21, noise=0.3 + 0.3 * (seed % 4))
        queries, *_ = _moons(seed + 50)
        directions, rows = _directions(features), np.flatnonzero(known >= 0)
        hits = {30: 0, 15: 0, 60: 0}
        for training, held_out in model_selection.StratifiedKFold(5, shuffle=True, random_state=0).split(
            rows, known[rows]
        ):
            hidden = np.full_like(known, -1)
            hidden[rows[training]] = known[rows[training]]
            for size in hits:
                spread = np.array(_spread_oracle(directions, hidden, size, steps=30))
                hits[size] += np.sum(spread[rows[held_out]] == truth[rows[held_out]])
        spread = np.array(_spread_oracle(directions, known, max(hits, key=hits.get)))
        expected = fit_by_default(features, spread).predict(queries)
        self.assertEqual(label_spreading_classes(features, known, queries).tolist(), expected.tolist())

    @parameterized.parameters(((60,), 60), ((60, 15), 15), ((15, 60, 30), 30), ((), 30))
    def test_any_size_can_win_and_ties_go_to_30_then_to_15(self, right, expected):
        features, truth, known = _moons(0)
        sizes = []

        def spread(graph, labels):
            del labels
            sizes.append(graph.nnz // graph.shape[0])
            return truth if sizes[-1] in right else (truth + 1) % 3

        with mock.patch.object(label_spreading, "spread_labels", side_effect=spread):
            label_spreading_classes(features, known, features)
        self.assertEqual(sizes[-1], expected)

    def test_unlabelled_images_help(self):
        features, _, known = _moons(1, count=400, labelled=6)
        queries, expected, _ = _moons(2, count=300)
        few = fit_by_default(features[:6], known[:6], population=features).predict(queries)
        accuracy = np.mean(label_spreading_classes(features, known, queries) == expected)
        self.assertGreater(accuracy, np.mean(few == expected) + 0.05)

    def test_images_that_no_label_reaches_are_left_out(self):
        # Two islands of ten; of one, no label is known.
        angles = np.concatenate([np.linspace(0, 0.3, 10), np.linspace(3, 3.3, 10)])
        features = np.stack([np.cos(angles), np.sin(angles)], 1)
        known = np.full(20, -1)
        known[[0, 9]] = 0, 1
        graph = label_spreading._graph(_nearest(features, 5))
        self.assertEqual((spread_labels(graph, known) == -1).tolist(), [False] * 10 + [True] * 10)
        with (
            mock.patch.object(label_spreading, "GRAPH_NEIGHBOURS", (5,)),
            mock.patch.object(label_spreading, "_standardised_directions", lambda rows: rows),
            mock.patch.object(label_spreading, "fit_by_default", wraps=fit_by_default) as fit,
        ):
            label_spreading_classes(features, known, features)
        self.assertEqual(fit.call_args.args[0].tolist(), features[:10].tolist())
        self.assertLen(fit.call_args.kwargs["population"], 20)

    def test_one_label_per_class_takes_the_default_size(self):
        features, _, known = _moons(0, labelled=3)
        with mock.patch.object(label_spreading, "_graph", side_effect=label_spreading._graph) as graph:
            classes = label_spreading_classes(features, known, features)
        sizes = [call.args[0].shape[1] for call in graph.call_args_list]
        self.assertEqual(sizes[0], 30)
        spread = np.array(_spread_oracle(_directions(features), known, 30))
        self.assertEqual(classes.tolist(), fit_by_default(features, spread).predict(features).tolist())

    def test_fewer_images_than_neighbours_are_all_neighbours_and_nothing_is_said(self):
        features, _, known = _moons(0, count=7, labelled=5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            classes = label_spreading_classes(features, known, features)
        self.assertLen(classes, 7)


if __name__ == "__main__":
    absltest.main()
