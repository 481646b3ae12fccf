"""Tests of the programs of semppl.benchmarks.small_budget that train or embed."""

import json
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.benchmarks.small_budget import ablations, inference_tricks, more_labels, rates
from semppl.configs.hyperparameters import Hyperparameters
from semppl.evaluation.evaluate import evaluate
from semppl.experiments.comparison import trainings
from semppl.experiments.comparison.results import CLASSIFIERS
from semppl.programs import presets
from semppl.runs import checkpoints
from semppl.tests import testing, tiny
from semppl.tests.export.random_runs import write_run
from semppl.trainers.methods import find_method, settle


class AblationsTest(parameterized.TestCase):
    @parameterized.parameters(*ablations.VARIANTS)
    def test_a_variant_changes_settings_that_semppl_uses(self, name):
        _, changes = ablations.VARIANTS[name]
        settings = Hyperparameters(
            **tiny.settings(batch_size=256, queue_size=2048, labelled_batch_size=64) | dict(changes)
        )
        settle(settings, given=changes, workdir=pathlib.Path("nowhere"))
        find_method("semppl").check_settings(settings)

    def test_variants_that_change_nothing_are_left_out_but_for_the_preset(self):
        shared = Hyperparameters(**tiny.settings(invariance_weight=1.0))
        found = ablations.trainings_of(["preset", "lambda_0", "lambda_1"], [3, 5], shared, pathlib.Path("all"))
        self.assertEqual([run.folder.name for run in found], ["preset-3", "lambda_0-3", "preset-5", "lambda_0-5"])
        self.assertEqual([run.settings.invariance_weight for run in found], [1, 0, 1, 0])
        self.assertEqual([(run.settings.seed, run.settings.label_seed) for run in found], [(3, 3)] * 2 + [(5, 5)] * 2)

    def test_single_variants_have_steps_of_their_own(self):
        shared, names = Hyperparameters(**tiny.settings(steps=9)), ["preset", "float32", "lambda_0"]
        found = ablations.trainings_of(names, [0], shared, pathlib.Path("all"), {"lambda_0": 5})
        self.assertEqual({run.folder.name: run.settings.steps for run in found}, {"preset-0": 9, "lambda_0-0": 5})
        with self.assertRaisesRegex(ValueError, "^--variant_steps must name variants .* Received: lambda_1$"):
            ablations.trainings_of(names, [0], shared, pathlib.Path("all"), {"lambda_1": 5})

    def test_a_row_has_means_over_seeds_and_the_paired_difference_from_the_preset(self):
        # Differences 0.1, 0.2, 0.3 by logistic regression: mean 0.2, t(0.975, 2 degrees) = 4.302653, 0.1/√3 = 0.057735.
        preset = [_result("preset", seed, 0.5 - 0.1 * seed) for seed in range(3)]
        changed = [_result("lambda_1", seed, 0.6) for seed in range(3)]
        row = ablations.table([*preset, *changed]).splitlines()[-1]
        difference = "+0.200 (-0.048 to +0.448)"
        self.assertEqual(
            row,
            f"| λ = 1 | 1,000 | 0.100 (0.100–0.100) | 0.600 (0.600–0.600) | 0.300 (0.300–0.300) | {difference} | 0.800 | 0.700 |",
        )

    def test_a_difference_that_is_larger_than_chance_is_bold_and_one_seed_has_no_interval(self):
        preset = [_result("preset", seed, 0.5) for seed in range(3)]
        changed = [_result("lambda_1", seed, 0.4 + 0.01 * seed) for seed in range(3)]
        self.assertIn("| **-0.090** (-0.115 to -0.065) |", ablations.table([*preset, *changed]))
        self.assertIn("| -0.100 |", ablations.table([preset[0], changed[0]]))

    @testing.slow
    def test_variants_are_trained_evaluated_and_continued(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        shared = Hyperparameters(**presets.read_preset("digits", Hyperparameters) | {"steps": 3, "warmup_steps": 1})
        runs = ablations.trainings_of(["preset", "lambda_0"], [0], shared, root / "runs")
        found, failed = ablations.run(runs, root / "results.json")
        self.assertEmpty(failed)
        self.assertEqual([result["variant"] for result in found], ["preset", "lambda_0"])
        self.assertEqual(json.loads((root / "results.json").read_text()), json.loads(json.dumps(found)))
        with mock.patch.object(trainings, "_train", side_effect=AssertionError):
            self.assertEqual(ablations.run(runs, None), (found, []))


def _result(variant, seed, accuracy):
    """A result as the program writes it."""
    values = {"nearest_neighbours": 0.1, "logistic_regression": accuracy, "label_spreading": 0.3}
    curve = [{"pseudo_label_accuracy": 0.9}, {"pseudo_label_accuracy": 0.8, "pseudo_label_coverage": 0.7}]
    return {"variant": variant, "seed": seed, "steps": 1000, "accuracy": {"projections": values}, "curve": curve}


class RatesTest(parameterized.TestCase):
    @parameterized.parameters(
        ("supervised", "cifar", 0), ("fixmatch", "randaugment", 4), ("simclr", "cifar", 4), ("semppl", "cifar", 4)
    )
    def test_a_method_is_timed_with_the_settings_of_its_runs_in_a_comparison(self, method, recipe, labelled):
        shared = Hyperparameters(
            **tiny.settings(recipe="cifar", small_views=0, channels=3, pixel_mean=(0.5,) * 3, pixel_stddev=(0.2,) * 3)
        )
        settings = rates.settings_of(method, shared)
        self.assertEqual((settings.method, settings.recipe, settings.labelled_batch_size), (method, recipe, labelled))


class InferenceTricksTest(tf.test.TestCase):
    def test_both_sides_are_averaged_in_plain_loops(self):
        images = np.random.default_rng(0).uniform(size=(2, 3, 4, 1)).astype(np.float32)
        found = inference_tricks.of_both_sides(lambda x: tf.reshape(x, [2, -1]), tf.constant(images))
        for image, mean in zip(images, found, strict=True):
            sides = [image.reshape(-1), image[:, ::-1].reshape(-1)]
            expected = sum(side / np.sqrt(sum(value**2 for value in side)) for side in sides) / 2
            self.assertAllClose(mean, expected, rtol=1e-6)

    def test_a_run_without_a_target_network_has_none(self):
        folder = pathlib.Path(self.get_temp_dir())
        settings, _ = write_run(folder / "run")
        self.assertIsNone(checkpoints.load_target(folder / "run"))
        online = checkpoints.load_online(folder / "run")[1]
        names = [name for name, *_ in inference_tricks.ways(settings, online, None, [settings.large_size, 12])]
        self.assertEqual(
            names, ["online network, 8 pixels", "mean with the horizontal flip, 8 pixels", "online network, 12 pixels"]
        )


class MoreLabelsTest(parameterized.TestCase):
    def test_the_runs_own_number_of_labels_gives_the_accuracies_of_evaluate_and_others_have_their_own_labels(self):
        run = pathlib.Path(self.create_tempdir().full_path) / "run"
        write_run(run, method="simclr", recipe="digits", labels_per_class=1, label_seed=3)
        (run / "done.json").write_text(json.dumps({"step": 7, "weights_sha256": "ab"}))
        (run / "metrics.jsonl").write_text(json.dumps({"step": 7, "held_out_accuracy": 0.4}) + "\n")
        expected = evaluate(run, evaluators=CLASSIFIERS)["accuracy"]
        own, others = more_labels.logs_of(run, [1, 5])
        for name in ("features", "projections"):
            self.assertEqual(own["accuracy"][name], expected[name])
            self.assertNotEqual(others["accuracy"][name], expected[name])
        self.assertEqual((own["curve"], others["labels_per_class"], others["settings"]["labels_per_class"]), ([], 5, 5))

    def test_a_run_that_was_trained_with_labels_is_refused(self):
        run = pathlib.Path(self.create_tempdir().full_path) / "run"
        write_run(run)
        with self.assertRaisesRegex(ValueError, "^--runs must name runs of methods that use no labels. .*, of semppl$"):
            more_labels.logs_of(run, [1])


if __name__ == "__main__":
    tf.test.main()
