"""Tests of semppl.evaluation.results.classes."""

import numpy as np
from absl.testing import absltest
from sklearn import metrics

from semppl.evaluation.results.classes import class_lines, class_report, confusion_matrix

NAMES = ("cat", "dog", "emu", "yak")


class ClassReportTest(absltest.TestCase):
    def test_classes_and_confusions_are_those_of_plain_loops(self):
        rng = np.random.default_rng(0)
        truth = rng.integers(0, 3, 200)  # no yak
        predicted = np.where(rng.uniform(size=200) < 0.4, rng.integers(-1, 4, 200), truth)
        report = class_report(predicted, truth, NAMES)
        self.assertEqual([row["class"] for row in report["per_class"]], ["cat", "dog", "emu"])
        for label, row in enumerate(report["per_class"]):
            own = [p for p, t in zip(predicted, truth, strict=True) if t == label]
            self.assertEqual((row["images"], row["accuracy"]), (len(own), own.count(label) / len(own)))
        counts = {}
        for p, t in zip(predicted.tolist(), truth.tolist(), strict=True):
            if p not in (t, -1):
                counts[NAMES[t], NAMES[p]] = counts.get((NAMES[t], NAMES[p]), 0) + 1
        confusions = report["confusions"]
        self.assertEqual({(pair["true"], pair["predicted"]): pair["images"] for pair in confusions}, counts)
        self.assertEqual([c["images"] for c in confusions], sorted(counts.values(), reverse=True))

    def test_the_lowest_classes_come_first_and_most_of_many_stand_in_the_file(self):
        names = [f"class {number}" for number in range(30)]
        truth = np.repeat(np.arange(30), 2)
        predicted = np.where(np.arange(60) % 2 == 0, truth, np.maximum(truth, 7))
        report = class_report(predicted, truth, names) | {"of": "projections, nearest_neighbours"}
        lines = class_lines(report, written_to="metrics.json")
        self.assertEqual(lines[0], "accuracy per class (projections, nearest_neighbours), the lowest first:")
        self.assertEqual(lines[1], "  class 0   0.5000 of 2")
        self.assertEqual(lines[8], "  class 7   1.0000 of 2")
        self.assertEqual(lines[21], "  10 more classes in metrics.json")
        self.assertEqual(lines[22:24], ["commonest confusions (true → predicted):", "  class 0 → class 7: 1 of 2"])
        self.assertLen(lines, 23 + 7)
        self.assertLen(class_lines(report, written_to=""), 1 + 30 + 1 + 7)

    def test_where_all_is_right_nothing_is_confused(self):
        report = class_report(np.arange(3), np.arange(3), NAMES)
        self.assertEqual(report["confusions"], [])
        self.assertLen(class_lines(report | {"of": "x"}, written_to="y"), 4)

    def test_the_confusion_matrix_is_that_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        truth, predicted = rng.integers(0, 3, 50), rng.integers(0, 4, 50)  # nobody is of the last class
        names = ["a", "b", "c", "d"]
        matrix = confusion_matrix(predicted, truth, names)["confusion_matrix"]
        self.assertEqual(matrix["classes"], names)
        self.assertEqual(matrix["rows"], metrics.confusion_matrix(truth, predicted, labels=range(4)).tolist())
        self.assertEqual(confusion_matrix(predicted, truth, ["name"] * 101), {})


if __name__ == "__main__":
    absltest.main()
