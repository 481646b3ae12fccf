"""Tests of semppl.benchmarks.small_budget.figures."""

import contextlib
import io
import pathlib

from absl.testing import absltest, flagsaver

from semppl.benchmarks.small_budget import figures
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


def _log(method, seed, accuracy, labels=50, **curve):
    accuracies = (
        {"classifier": {"own": accuracy}}
        if method == "supervised"
        else {"projections": {"logistic_regression": accuracy}}
    )
    return {
        "data": "tfds:cifar10",
        "method": method,
        "labels_per_class": labels,
        "seed": seed,
        "accuracy": accuracies,
        "curve": [{"step": step, "held_out_accuracy": value} for step, value in curve.get("held_out", [])],
    }


class FiguresTest(absltest.TestCase):
    def test_the_table_has_mean_and_range_over_seeds_in_the_order_of_methods(self):
        logs = [
            _log("supervised", 0, 0.5),
            _log("semppl", 0, 0.7),
            _log("semppl", 1, 0.8),
            _log("semppl", 0, 0.6, labels=4),
        ]
        lines = figures.table(figures.by_method(logs, "cifar10")).splitlines()
        self.assertEqual(lines[0], "| logistic regression, or own classifier | 4 per class | 50 per class |")
        self.assertEqual(lines[2:], ["| SemPPL | 0.600 | 0.750 (0.700–0.800) |", "| the labels alone |  | 0.500 |"])

    def test_minutes_are_steps_times_seconds_a_step(self):
        logs = [_log("semppl", seed, 0.7, held_out=[(120, 0.4 + seed / 10), (240, 0.5)]) for seed in (0, 1)]
        curve = figures.over_time(logs, "held_out_accuracy", 0.5)
        self.assertEqual(curve.places, [1.0, 2.0])
        self.assertEqual(curve.values, [[0.4, 0.5], [0.5, 0.5]])

    def test_seeds_with_values_at_other_steps_are_interpolated_and_never_extrapolated(self):
        logs = [
            _log("semppl", 0, 0.7, held_out=[(100, 0.2), (200, 0.4), (400, 0.8)]),
            _log("semppl", 1, 0.7, held_out=[(150, 0.1), (350, 0.3)]),
        ]
        curve = figures.over_time(logs, "held_out_accuracy", 60)
        self.assertEqual(curve.places, [150, 200, 350])
        expected = [[0.3, 0.1], [0.4, 0.15], [0.7, 0.3]]
        for found, values in zip(curve.values, expected, strict=True):
            self.assertSequenceAlmostEqual(found, values)

    def test_frozen_encoders_are_compared_by_features_and_others_by_projections(self):
        both = {"features": {"logistic_regression": 0.2}, "projections": {"logistic_regression": 0.3}}
        self.assertEqual(figures.accuracy_of({"method": "semppl", "accuracy": both}), 0.3)
        self.assertEqual(figures.accuracy_of({"method": "semppl nothing", "accuracy": both}), 0.2)
        own = {"features": {"logistic_regression": 0.2}, "classifier": {"own": "0.4"}}
        self.assertEqual(figures.accuracy_of({"method": "fixmatch", "accuracy": own}), 0.4)
        self.assertEqual(figures.accuracy_of({"method": "simmatch", "accuracy": both | own}), 0.3)

    def test_minutes_are_those_that_all_runs_take(self):
        logs = [_log("semppl", seed, 0.7) | {"steps": 600} for seed in (0, 1)]
        logs += [_log("byol", 0, 0.7) | {"steps": 314}, _log("semppl nothing", 0, 0.5) | {"steps": 0}]
        groups = figures.by_method(logs, "cifar10")
        self.assertEqual(figures.minutes_of(groups, {"semppl": 0.5, "byol": 1.0}), 5.0)
        with self.assertRaisesRegex(ValueError, "runs of 5.00 minutes, within 5 %. Received: byol: 5.76$"):
            figures.minutes_of(groups, {"semppl": 0.5, "byol": 1.1})
        with self.assertRaisesRegex(ValueError, "with a rate; run .*rates for the others. Received: byol$"):
            figures.minutes_of(groups, {"semppl": 0.5})

    def test_a_file_that_is_no_log_is_named(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        for text in ("[]", "{}", "no JSON"):
            (folder / "other.json").write_text(text)
            with self.assertRaisesRegex(ValueError, r"^--read_logs_of must hold logs .* Received: .*/other\.json$"):
                figures.read_logs(folder)

    def test_a_folder_without_logs_is_refused(self):
        errors = io.StringIO()
        with flagsaver.flagsaver(read_logs_of=self.create_tempdir().full_path), contextlib.redirect_stderr(errors):
            self.assertEqual(figures.main([]), 2)
        self.assertStartsWith(
            errors.getvalue(), "error: --read_logs_of must hold logs of cifar10 or fashion_mnist. Received: "
        )

    def test_the_committed_logs_make_the_committed_figures(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        with flagsaver.flagsaver(figures_folder=str(folder)):
            self.assertEqual(figures.main([]), 0)
        images = pathlib.Path(figures.__file__).resolve().parents[2] / "docs" / "images"
        for path in folder.glob("*.svg"):
            self.assertEqual(path.read_text(), (images / path.name).read_text(), path.name)
        self.assertNotEmpty(list(folder.glob("*.svg")))


if __name__ == "__main__":
    absltest.main()
