"""Tests of semppl.evaluation.results.details."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from semppl.data.images import NO_LABEL
from semppl.evaluation.evaluators import EVALUATORS, Task
from semppl.evaluation.neighbours.nearest_neighbours import nearest_neighbour_classes
from semppl.evaluation.results import details


def _task(classes=3, labelled=30, test=20, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(80) % classes
    train = rng.standard_normal((80, 6)) + 2 * np.eye(6)[labels % 6]
    truth = rng.integers(0, classes, test)
    queries = rng.standard_normal((test, 6)) + 2 * np.eye(6)[truth % 6]
    return Task(train, labels.astype(np.int32), np.arange(labelled), np.arange(80), queries, 1), truth


class DetailsTest(parameterized.TestCase):
    def test_the_grid_has_the_accuracy_of_every_k(self):
        task, truth = _task()
        grid = details.k_grid(task, truth)
        self.assertEqual(grid["k"], [1, 5, 10, 20])
        for k, plain, weighted in zip(grid["k"], grid["nearest_neighbours"], grid["weighted_neighbours"], strict=True):
            classes = nearest_neighbour_classes(task.test, *task.memory, k=k)
            self.assertAlmostEqual(plain, np.mean(classes == truth))
            if k == 1:
                self.assertEqual(weighted, plain)

    def test_pseudo_labels_are_those_of_clear_votes(self):
        task, _ = _task()
        task.train_labels[30:40] = NO_LABEL
        report = details.pseudo_labels(task, neighbours=5, min_vote_share=0.8)
        right = judged = clear = 0
        for row in range(30, 80):
            near = sorted(range(30), key=lambda entry: -_cosine(task.train[row], task.train[entry]))[:5]
            votes = [int(task.train_labels[entry]) for entry in near]
            elected = max(set(votes), key=votes.count)
            if votes.count(elected) >= 4:
                clear += 1
                judged += task.train_labels[row] != NO_LABEL
                right += task.train_labels[row] == elected
        self.assertAlmostEqual(report["coverage"], clear / 50)
        self.assertAlmostEqual(report["accuracy"], right / judged)
        self.assertEqual(report["images"], 50)

    def test_without_other_images_there_are_no_pseudo_labels(self):
        task, _ = _task(labelled=80)
        self.assertEqual(details.pseudo_labels(task, neighbours=1, min_vote_share=0), {"images": 0})

    @parameterized.parameters((3, 30, 20), (1, 30, 20), (3, 30, 1), (80, 80, 20), (3, 1, 5))
    def test_odd_input_has_finite_figures(self, classes, labelled, test):
        task, truth = _task(classes, labelled, test)
        report = details.details(task, truth, num_classes=1000, neighbours=1, min_vote_share=0.0)
        for figures in report["calibration"].values():
            self.assertTrue(all(0 <= value <= 1 for value in (figures["ece"], figures["aurc"])))
            self.assertAlmostEqual(figures["risk_at"]["1.0"], round(figures["risk_at"]["1.0"] * test) / test)
        self.assertTrue(all(math.isfinite(value) for value in report["clustering"].values()))
        lines = details.detail_lines(report)
        self.assertStartsWith(lines[0], "nearest neighbours by k, plain / weighted: 1: ")
        self.assertLen(lines, 5 if labelled < 80 else 4)
        for evaluator in EVALUATORS.values():
            self.assertEqual(evaluator.classes(task).shape, (test,))

    def test_the_risk_at_full_coverage_is_the_error(self):
        task, truth = _task()
        report = details.calibration(task, truth)
        classes = EVALUATORS["weighted_neighbours"].classes(task)
        self.assertAlmostEqual(report["weighted_neighbours"]["risk_at"]["1.0"], np.mean(classes != truth))
        classes = EVALUATORS["logistic_regression"].classes(task)
        self.assertAlmostEqual(report["logistic_regression"]["risk_at"]["1.0"], np.mean(classes != truth))


def _cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


if __name__ == "__main__":
    absltest.main()
