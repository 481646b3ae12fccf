"""Tests of semppl.experiments.comparison.results."""

import csv
import json
import math
import pathlib
import statistics
from unittest import mock

from absl.testing import absltest

from semppl.configs.hyperparameters import Hyperparameters
from semppl.experiments.comparison import plan, results
from semppl.tests import testing, tiny  # noqa: F401  (testing parses the flags)
from semppl.tests.experiments.comparison import known_runs


def some_results():
    return [results.Result(*run) for run in known_runs.runs()]


class RowsTest(absltest.TestCase):
    def test_there_is_a_row_per_method_and_classifier_and_one_for_a_classifier_of_its_own(self):
        rows = results.rows_of(some_results())
        names = [(row.method, row.classifier) for row in rows]
        classifiers = results.CLASSIFIERS
        expected = [("raw_pixels", c) for c in classifiers] + [("frozen", c) for c in classifiers]
        self.assertEqual(names, [*expected, ("supervised", "own"), *(("semppl", c) for c in classifiers)])
        self.assertEqual({tuple(row.values) for row in rows}, {(1, 4)})
        label_spreading = rows[names.index(("semppl", "label_spreading"))]
        self.assertAlmostEqual(label_spreading.values[4][2], 0.6 + 0.2 - 0.05 + 0.002 + 0.02)

    def test_every_two_methods_are_compared_with_the_same_classifier_and_labels(self):
        compared = results.compare_methods(results.rows_of(some_results()))
        self.assertLen(compared, 2 * 3 * 3)  # numbers of labels × classifiers × pairs
        self.assertNotIn("raw_pixels", {name for one in compared for name in (one.first, one.second)})
        found = {(one.first, one.second, one.classifier, one.labels_per_class): one.difference for one in compared}
        difference = found["semppl", "frozen", "logistic_regression", 4]
        self.assertAlmostEqual(difference.mean, 0.2 + 0.001)
        self.assertTrue(difference.significant)
        self.assertFalse(found["supervised", "frozen", "nearest_neighbours", 1].significant)

    def test_two_classifiers_of_their_own_are_compared_once(self):
        runs = [run for run in some_results() if run.method != "frozen"]
        runs += [results.Result("fixmatch", *run[1:]) for run in known_runs.runs() if run[0] == "supervised"]
        compared = results.compare_methods(results.rows_of(runs))
        found = [(one.first, one.second, one.classifier) for one in compared if one.labels_per_class == 4]
        own = [(first, second) for first, second, classifier in found if classifier == results.OWN]
        self.assertEqual(list(map(set, own)), [{"fixmatch", "supervised"}])
        self.assertLen(found, 1 + 2 * 3)
        self.assertIn("of 14 differences", results.difference_lines(compared)[-1])

    def test_what_is_significant_is_said_by_pair_with_the_rest_counted(self):
        lines = results.difference_lines(results.compare_methods(results.rows_of(some_results())))
        self.assertLen(lines, 5)
        self.assertRegex(
            lines[0],
            r"^1 label per class: SemPPL − untrained encoder, random weights: nearest labelled image \+0\.201 "
            r"\(\+0\.\d+ to \+0\.\d+\); logistic regression ",
        )
        self.assertStartsWith(lines[-1], "12 of 18 differences are significant at 95 %")
        self.assertIn("0.9 false positives are expected", lines[-1])

    def test_with_two_seeds_nothing_can_be_said(self):
        two = [run for run in some_results() if run.seed < 2]
        lines = results.difference_lines(results.compare_methods(results.rows_of(two)))
        self.assertEqual(lines, ["Fewer than 3 seeds: too few to test which differences are significant."])

    def test_the_frozen_encoder_is_called_what_it_is(self):
        self.assertEqual(results.method_in_words("frozen"), "untrained encoder, random weights")
        self.assertEqual(results.method_in_words("frozen", "imagenet"), "frozen encoder, pretrained (imagenet)")
        self.assertEqual(results.method_in_words("frozen", "a/b.h5"), "frozen encoder, pretrained (b.h5)")

    def test_a_table_for_a_terminal_has_the_mean_and_the_range(self):
        self.assertEqual(results.cell([0.25]), "0.250")
        self.assertEqual(results.cell([0.2, 0.4, 0.3]), "0.300  (0.200–0.400)")
        self.assertEqual(results.cell([0.2, 0.4]), "0.300  (0.200–0.400)")
        self.assertEqual(results.cell([]), "–")
        self.assertEqual(results.table_lines([("a", ["0.1"])]), ["  a" + " " * 46 + "0.1"])
        lines = results.table_lines([("a", ["0.1", "0.22"]), ("b" * 50, ["0.333", "–"])], ["one", "two"])
        self.assertEqual(lines[0], " " * 53 + "one     two")
        self.assertEqual(lines[1], "  a" + " " * 50 + "0.1     0.22")
        self.assertEqual(lines[2], "  " + "b" * 50 + " 0.333   –")


class FilesTest(absltest.TestCase):
    def test_both_files_have_the_values_of_every_run(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        found = some_results()
        results.write_results(folder, found, {"runs": 18})
        with (folder / "results.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(
            list(rows[0]),
            ["method", "labels_per_class", "seed", "representation", "classifier", "accuracy", "balanced_accuracy"],
        )
        self.assertLen(rows, 3 * 2 * (6 + 6 + 4))
        for run in found:
            for classifier, value in run.measures["accuracy"][known_runs.REPRESENTATIONS[run.method]].items():
                (row,) = [
                    row
                    for row in rows
                    if (row["method"], row["labels_per_class"], row["seed"], row["classifier"])
                    == (run.method, str(run.labels_per_class), str(run.seed), classifier)
                    and row["representation"] != "raw_pixels"
                ]
                self.assertAlmostEqual(float(row["accuracy"]), value, places=6)
        report = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        (row,) = [
            row
            for row in report["rows"]
            if (row["method"], row["classifier"], row["labels_per_class"]) == ("supervised", "own", 4)
        ]
        values = list(row["by_seed"].values())
        self.assertAlmostEqual(row["mean"], statistics.mean(values))
        self.assertAlmostEqual(row["standard_deviation"], statistics.stdev(values))
        self.assertEqual((row["seeds"], report["runs"]), (3, 18))
        self.assertEqual(sum(one["significant"] for one in report["differences"]), 12)

    def test_files_of_two_seeds_have_no_nan(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        results.write_results(folder, [run for run in some_results() if run.seed < 2], {})
        text = (folder / "results.json").read_text(encoding="utf-8")
        self.assertNotIn("NaN", text)
        self.assertIsNone(json.loads(text)["differences"][0]["difference"]["low"])
        self.assertFalse(math.isnan(json.loads(text)["differences"][0]["difference"]["mean"]))
        row = json.loads(text)["rows"][0]
        self.assertAlmostEqual(row["standard_deviation"], statistics.stdev(row["by_seed"].values()))

    def test_files_of_one_run_and_of_none_are_written(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        for count, lines in ((1, 1 + 6), (0, 1)):  # three classifiers of raw pixels, and of the projections
            results.write_results(folder, some_results()[:count], {})
            self.assertLen((folder / "results.csv").read_text(encoding="utf-8").splitlines(), lines)

    def test_the_spread_of_one_seed_is_unknown(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        results.write_results(folder, [run for run in some_results() if run.seed < 1], {})
        (first, *_) = json.loads((folder / "results.json").read_text(encoding="utf-8"))["rows"]
        self.assertEqual((first["seeds"], first["standard_deviation"]), (1, None))


class JudgeTest(absltest.TestCase):
    def test_only_the_representations_of_the_table_are_measured(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        shared = Hyperparameters(**tiny.settings())
        asked = {}
        for run in plan.plan(shared, folder, methods=["frozen", "supervised"], seeds=[0]):
            run.folder.mkdir()
            (run.folder / "done.json").write_text('{"step": 20, "weights_sha256": "a"}')
            with mock.patch.object(results, "measure_rows", return_value={}) as measure:
                results.judge(run, split="test", digest="x")
            asked[run.method] = measure.call_args
        self.assertEqual(asked["frozen"].args, (folder / "frozen-0", ("raw_pixels", "features")))
        self.assertEqual(asked["supervised"].args, (folder / "supervised-0", ("classifier", "projections")))
        self.assertEqual(asked["frozen"].kwargs, {"evaluators": results.CLASSIFIERS, "split": "test"})

    def test_a_run_is_evaluated_again_only_after_its_weights_or_the_images_changed(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        shared = Hyperparameters(**tiny.settings())
        (run,) = plan.plan(shared, folder, methods=["semppl"], seeds=[0])
        run.folder.mkdir()
        (run.folder / "done.json").write_text('{"step": 20, "weights_sha256": "a"}')
        with mock.patch.object(
            results, "measure_rows", return_value=known_runs.measures(0.5, "projections")
        ) as evaluate:
            first = results.judge(run, split="test", digest="x")
            self.assertEqual(results.judge(run, split="test", digest="x"), first)
            self.assertEqual(evaluate.call_count, 1)
            results.judge(run, split="validation", digest="x")
            self.assertEqual(evaluate.call_count, 2)
            (run.folder / "done.json").write_text('{"step": 20, "weights_sha256": "b"}')
            results.judge(run, split="validation", digest="x")
            self.assertEqual(evaluate.call_count, 3)
            results.judge(run, split="validation", digest="other images or classes")
            self.assertEqual(evaluate.call_count, 4)
        self.assertEqual(first.measures, known_runs.measures(0.5, "projections"))


if __name__ == "__main__":
    absltest.main()
