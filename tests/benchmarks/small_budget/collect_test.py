"""Tests of semppl.benchmarks.small_budget.collect."""

import json
import pathlib

from absl.testing import absltest

from semppl.benchmarks.small_budget import collect
from semppl.configs.hyperparameters import Hyperparameters
from semppl.tests import testing, tiny  # noqa: F401  (marks the flags as parsed)


class CollectTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.run = pathlib.Path(self.create_tempdir().full_path)
        settings = Hyperparameters(**tiny.settings(data="tfds:cifar10", labels_per_class=50, method="simclr", seed=2))
        (self.run / "hyperparameters.json").write_text(settings.to_json())
        (self.run / "done.json").write_text(json.dumps({"step": 20, "weights_sha256": "ab"}))
        (self.run / "metrics.json").write_text(json.dumps({"accuracy": {"projections": {"logistic_regression": 0.5}}}))
        times = [
            {"begins": "2026-01-01T10:00:00+00:00", "versions": {"python": "3"}},
            {"ends": "2026-01-01T10:01:30+00:00", "step": 20},
        ]
        self._write_lines("processes.jsonl", [*times, {"begins": "2026-01-01T11:00:00+00:00"}])
        rows = [
            {
                "step": 5,
                "pseudo_label_accuracy": 0.5,
                "pseudo_labels_judged": 30,
                "pseudo_label_coverage": 0.2,
                "loss": 9.0,
            },
            {"step": 10, "pseudo_label_accuracy": 0.9, "pseudo_labels_judged": 10, "pseudo_label_coverage": 0.4},
            {"step": 15, "held_out_accuracy": 0.7},
        ]
        self._write_lines("metrics.jsonl", rows)

    def _write_lines(self, name, rows):
        (self.run / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def test_a_log_has_settings_accuracy_time_and_curve_of_a_run(self):
        log = collect.log_of(self.run)
        self.assertEqual(collect.name_of(log), "cifar10-simclr-50-2.json")
        self.assertEqual(log["accuracy"], {"projections": {"logistic_regression": 0.5}})
        self.assertEqual((log["steps"], log["seconds"], log["versions"]), (20, None, {"python": "3"}))
        self.assertEqual(log["settings"]["large_size"], 8)
        self.assertNotIn("momentum", log["settings"])  # has its default
        self.assertEqual([row["step"] for row in log["curve"]], [5, 10, 15])
        self.assertEqual(log["curve"][2], {"step": 15, "held_out_accuracy": 0.7})

    def test_the_accuracy_of_pseudo_labels_over_several_rows_is_that_over_all_that_were_judged(self):
        (early, late) = collect.log_of(self.run, points=2)["curve"]
        self.assertEqual((early["step"], late["step"]), (5, 15))
        self.assertEqual(
            late, {"step": 15, "held_out_accuracy": 0.7, "pseudo_label_accuracy": 0.9, "pseudo_label_coverage": 0.4}
        )
        (whole,) = collect.log_of(self.run, points=1)["curve"]
        self.assertEqual(whole["pseudo_label_accuracy"], 0.6)  # (30·0.5 + 10·0.9) / 40
        self.assertEqual(whole["pseudo_label_coverage"], 0.3)

    def test_a_run_that_is_unfinished_or_not_evaluated_is_refused(self):
        (self.run / "metrics.json").unlink()
        with self.assertRaisesRegex(ValueError, "^--runs must name runs that .* has evaluated"):
            collect.log_of(self.run)
        (self.run / "done.json").unlink()
        with self.assertRaisesRegex(ValueError, "^--runs must name finished runs"):
            collect.log_of(self.run)

    def test_seconds_are_those_of_all_processes_unless_one_was_killed(self):
        lines = (self.run / "processes.jsonl").read_text().splitlines()[:2]
        for line in lines:
            self.assertIn("T10:0", line)
        (self.run / "processes.jsonl").write_text("\n".join(lines * 2) + "\n")
        self.assertEqual(collect.log_of(self.run)["seconds"], 180)

    def test_a_log_of_another_run_is_not_overwritten(self):
        folder = pathlib.Path(self.create_tempdir().full_path) / "logs"
        log = collect.log_of(self.run)
        self.assertEqual(collect.write(log, folder), folder / "cifar10-simclr-50-2.json")
        collect.write(log | {"accuracy": {}}, folder)
        self.assertEqual(json.loads((folder / "cifar10-simclr-50-2.json").read_text())["accuracy"], {})
        with self.assertRaisesRegex(ValueError, "^--logs_folder must .*, which differs in large_size$"):
            collect.write(log | {"settings": log["settings"] | {"large_size": 9}}, folder)

    def test_names_of_data_have_no_paths_and_options(self):
        for data, name in (
            ("tfds:cifar10", "cifar10"),
            ("folder:a/pictures?labels=folders", "pictures"),
            ("digits", "digits"),
        ):
            self.assertEqual(collect.name_of_data(data), name)

    def test_a_run_of_a_comparison_is_read_too(self):
        (self.run / "metrics.json").rename(self.run / "other.json")
        (self.run / "compared.json").write_text(
            json.dumps({"of": {}, "measures": {"accuracy": {"classifier": {"own": 0.3}}}})
        )
        self.assertEqual(collect.log_of(self.run)["accuracy"], {"classifier": {"own": 0.3}})


if __name__ == "__main__":
    absltest.main()
