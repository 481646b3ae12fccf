"""Tests of the programs of semppl.benchmarks.small_budget that train or embed: ablations, inference_tricks, rates."""

import pathlib

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.benchmarks.small_budget import ablations, inference_tricks, rates
from semppl.configs.hyperparameters import Hyperparameters
from semppl.runs import checkpoints
from semppl.tests import testing, tiny  # noqa: F401  (before TensorFlow runs anything)
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

    def test_a_row_has_accuracies_and_the_last_pseudo_labels(self):
        accuracy = {"nearest_neighbours": 0.1, "logistic_regression": 0.2, "label_spreading": 0.3}
        curve = [{"pseudo_label_accuracy": 0.9}, {"pseudo_label_accuracy": 0.8, "pseudo_label_coverage": 0.7}]
        row = ablations.row("τ = 0.1", {"accuracy": {"projections": accuracy}, "curve": curve})
        self.assertEqual(row, "| τ = 0.1 | 0.100 | 0.200 | 0.300 | 0.800 | 0.700 |")


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


if __name__ == "__main__":
    tf.test.main()
