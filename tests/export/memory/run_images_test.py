"""Tests of semppl.export.memory.run_images."""

import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf

from semppl.data.label_split import visible_labels
from semppl.data.sources import NO_LABEL, load_source
from semppl.export.memory import run_images
from semppl.export.memory.calibration import CalibrationSettings
from semppl.layers.inputs.preparation import fingerprints, inference_preparation
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)
from semppl.tests.export.random_runs import write_run


class RunImagesTest(tf.test.TestCase):
    def _read(self, **changes):
        workdir = pathlib.Path(self.create_tempdir().full_path)
        settings, network = write_run(workdir, **changes)
        prepare = inference_preparation(settings.large_size, centre_crop=1.0)
        images = run_images.RunImages(workdir, settings, prepare, fingerprints)
        return images.evidence(network.project, CalibrationSettings()), settings, network

    def _ood_score(self, **changes):
        workdir = pathlib.Path(self.create_tempdir().full_path)
        settings, network = write_run(workdir, **changes)
        images = run_images.RunImages(
            workdir, settings, inference_preparation(settings.large_size, centre_crop=1.0), fingerprints
        )
        return *images.ood_score(network.features), network

    def test_the_progress_bars_say_which_pictures_they_count(self):
        with mock.patch.object(run_images, "map_images", wraps=run_images.map_images) as mapped:
            self._read()
        names = [call.kwargs["name"] for call in mapped.call_args_list]
        self.assertEqual(names, ["labelled pictures", "held-out pictures", "training pictures"])

    def test_the_memory_is_the_labelled_images_and_no_other(self):
        evidence, settings, network = self._read(labels_per_class=3)
        train = load_source("digits").train
        visible = visible_labels(train, labels_per_class=3, seed=settings.label_seed)
        self.assertAllEqual(evidence.memory.ids, np.flatnonzero(visible != NO_LABEL))
        self.assertAllEqual(evidence.memory.labels, visible[visible != NO_LABEL])
        expected = network.project(train.images[evidence.memory.ids])
        self.assertAllClose(evidence.memory.embeddings, expected, atol=1e-5)
        self.assertEqual(evidence.class_names, tuple("0123456789"))
        self.assertEqual(evidence.temperature, settings.temperature)

    def test_test_images_are_held_out_and_never_taken_for_training_images(self):
        evidence, _, network = self._read()
        test = load_source("digits").test
        self.assertAllClose(evidence.held_out.embeddings, network.project(test.images), atol=1e-5)
        self.assertAllEqual(evidence.held_out.labels, test.labels)
        self.assertAllEqual(np.unique(evidence.held_out.ids), [-1])

    def test_the_score_is_fitted_to_unlabelled_images_where_there_are_any(self):
        score, report, network = self._ood_score()
        self.assertEqual((report["fitted_on"], report["checked_on"]), (1480, 297))
        visible = visible_labels(load_source("digits").train, labels_per_class=2, seed=0)
        unlabelled = load_source("digits").train.images[visible == NO_LABEL]
        self.assertAllClose(score.mean, network.features(unlabelled[::2]).numpy().mean(0), atol=1e-4)
        distances = score.percentile(network.features(unlabelled[1::2]))["distance"]
        self.assertAllClose(score.distances, np.sort(distances), rtol=1e-3)

    def test_the_report_of_the_score_is_the_share_of_held_out_images_above_the_95th_percentile(self):
        score, report, network = self._ood_score()
        ood = score.percentile(network.features(load_source("digits").test.images))["ood"].numpy()
        self.assertAlmostEqual(report["above_95"], np.mean(ood > 95), delta=0.01)

    def test_where_every_image_has_a_label_the_score_is_fitted_to_them(self):
        _, report, _ = self._ood_score(labels_per_class=0, label_fraction=1.0)
        self.assertEqual(report["fitted_on"], 1500)

    def test_samples_are_as_large_as_they_may_be_and_the_same_every_time(self):
        with (
            tf.compat.v1.test.mock.patch.object(run_images, "_MAX_HELD_OUT", 30),
            tf.compat.v1.test.mock.patch.object(run_images, "_MAX_REFERENCE", 20),
        ):
            first, second = self._read()[0], self._read()[0]
            score, report, _ = self._ood_score()
        self.assertLen(first.held_out, 30)
        self.assertAllEqual(first.held_out.embeddings, second.held_out.embeddings)
        self.assertEqual((report["fitted_on"], report["checked_on"], score.distances.shape[0]), (20, 20, 10))


if __name__ == "__main__":
    tf.test.main()
