"""Tests of semppl.evaluation.report."""

import contextlib
import dataclasses
import io
import pathlib
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data import splits
from semppl.data.sources import NO_LABEL, ImageSet, Source
from semppl.evaluation.report import report
from semppl.evaluation.report_page import judged as judging
from semppl.layers.networks import OnlineNetwork
from semppl.runs.folder import write_trained_parts
from semppl.tests import testing, tiny  # noqa: F401  (testing marks the flags as parsed)


def _source(*, test=True, labels=3, train=12):
    """Noise of three classes; the test pictures are the first training pictures."""
    images = np.random.default_rng(0).integers(0, 256, (train, 8, 8, 1), np.uint8)
    truth = (np.arange(train) % labels).astype(np.int32)
    held_out = ImageSet(images[:6], truth[:6]) if test else None
    return Source(ImageSet(images, truth), held_out, ("ant", "bee", "cat"))


class _Run(tf.Module):
    """What the checkpoint of a run holds, as far as a report is concerned."""

    def __init__(self, settings, *, classifier, queue):
        super().__init__()
        tf.keras.utils.set_random_seed(1)
        self.online = OnlineNetwork(**settings.network, name="online")
        self.online.build([None, settings.large_size, settings.large_size, settings.channels])
        if queue:
            self.queue = tf.Module()
            self.queue.labels = tf.Variable([0])
        if classifier:
            self.classifier = tf.keras.layers.Dense(3)
            self.classifier.build([None, 16])
            self.classifier.bias.assign([0.0, 100.0, 0.0])  # it says "bee", whatever it sees


class OutputTest(absltest.TestCase):
    def test_a_page_that_cannot_be_written_is_refused_before_the_run_is_read(self):
        with self.assertRaisesRegex(ValueError, "^--out must be a file that can be written. Received: /proc/x/r.html "):
            report("/nowhere", out="/proc/x/r.html")


class ReportTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.workdir = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        self.enter_context(contextlib.redirect_stderr(io.StringIO()))
        self.settings = Hyperparameters(**tiny.settings())

    def _run(self, *, classifier=False, queue=True, change=None):
        (self.workdir / "hyperparameters.json").write_text(self.settings.to_json())
        run = _Run(self.settings, classifier=classifier, queue=queue)
        if change:
            change(run)
        checkpoint = tf.train.Checkpoint(model=run)
        tf.train.CheckpointManager(checkpoint, str(self.workdir / "checkpoints"), 1, checkpoint_name="step").save(7)
        return run

    def _with(self, source):
        return mock.patch.object(splits, "load_splits", return_value=source)

    def test_a_run_has_a_page_in_its_folder(self):
        self._run()
        with self._with(_source()):
            path = report(self.workdir)
        self.assertEqual(path, self.workdir / "report.html")
        page = path.read_text(encoding="utf-8")
        self.assertIn("6 test pictures are classified correctly", page)
        self.assertIn("features and projections (joint)", page)
        self.assertIn("logistic regression on 6 labelled pictures", page)

    def test_features_are_those_of_the_network_and_are_classified_by_the_labelled_pictures(self):
        run = self._run()
        source = _source()
        with self._with(source):
            judged = judging.judge(self.workdir)
        self.assertEqual((judged.split, judged.step, len(judged.labelled)), ("test", 7, 6))
        inputs = tf.constant(source.test.images / np.float32(255))
        expected = run.online.join_features(run.online.features(inputs)).numpy()
        np.testing.assert_allclose(judged.judged.embeddings, expected, atol=1e-4)
        predictions = judged.predictions
        sure = predictions.classes == source.test.labels
        np.testing.assert_allclose(predictions.confidence[sure], predictions.of_truth[sure])
        self.assertTrue((predictions.of_truth[~sure] <= predictions.confidence[~sure]).all())

    def test_a_supervised_run_is_judged_by_its_own_classifier(self):
        self._run(classifier=True, queue=False)
        with self._with(_source()):
            judged = judging.judge(self.workdir)
        self.assertEqual(judged.embedding, "features")
        self.assertEqual(judged.predictions.classifier, "the run's own linear classifier")
        self.assertEqual(judged.predictions.classes.tolist(), [1] * 6)
        np.testing.assert_allclose(judged.predictions.confidence, 1, atol=1e-6)

    @parameterized.parameters(
        ({"labels_per_class": 2}, [6, 5_000, 10_000]),
        ({"labels_per_class": 0, "label_fraction": 0.9}, [20_000, 2_250, 10_000]),
    )
    def test_of_many_pictures_a_fixed_draw_is_embedded(self, changes, expected):
        self.settings = Hyperparameters(**tiny.settings(**changes))
        self._run(classifier=True, queue=False)
        source = _source(train=22_500)
        test = ImageSet(source.train.images[:11_000], source.train.labels[:11_000])
        zeros = mock.Mock(side_effect=lambda *_, positions, **__: np.zeros([len(positions), 16], np.float32))
        with self._with(dataclasses.replace(source, test=test)), mock.patch.object(judging, "embed", zeros):
            judged = judging.judge(self.workdir)
        drawn = [call.kwargs["positions"] for call in zeros.call_args_list]
        self.assertEqual([len(positions) for positions in drawn], expected)
        for positions in drawn:
            self.assertEqual(positions.tolist(), sorted(set(positions.tolist())))
        self.assertEqual(judged.judged.total, 11_000)

    def test_pictures_with_a_label_are_judged_of_the_first_split_that_has_one(self):
        self._run(classifier=True, queue=False)
        source = _source()
        half = ImageSet(source.test.images, np.where(np.arange(6) % 2, source.test.labels, NO_LABEL).astype(np.int32))
        none = ImageSet(source.test.images, np.full(6, NO_LABEL, np.int32))
        for test, validation, split, known in (
            (half, source.test, "test", 3),
            (none, half, "validation", 3),
            (none, none, "test", 0),
        ):
            with self._with(dataclasses.replace(source, test=test, validation=validation)):
                judged = judging.judge(self.workdir)
            self.assertEqual((judged.split, len(judged.known), len(judged.judged)), (split, known, known or 6))

    def test_a_run_with_classifier_and_projector_is_judged_by_its_classifier(self):
        self._run(classifier=True, queue=False)
        write_trained_parts(self.workdir, ("encoder", "projector", "classifier"))
        with self._with(_source()):
            self.assertEqual(judging.judge(self.workdir).embedding, "features")

    def test_without_a_test_set_the_hidden_training_labels_are_judged(self):
        self._run()
        with self._with(_source(test=False)):
            judged = judging.judge(self.workdir)
            page = report(self.workdir).read_text(encoding="utf-8")
        self.assertEqual((judged.split, len(judged.judged)), ("training", 6))
        self.assertIn("6 training pictures whose label was hidden", page)

    def test_a_test_set_without_labels_is_shown(self):
        self._run()
        source = _source()
        unlabelled = ImageSet(source.test.images, np.full(6, NO_LABEL, np.int32))
        with self._with(dataclasses.replace(source, test=unlabelled)):
            page = report(self.workdir).read_text(encoding="utf-8")
        self.assertIn("nothing is measured here", page)
        self.assertEqual(page.count('class="near"'), 6)

    def test_one_class_and_a_class_that_was_never_labelled_are_reported(self):
        self._run()
        source = _source(labels=1)
        with self._with(source):
            self.assertIn("are of one class", report(self.workdir).read_text(encoding="utf-8"))
        strange = ImageSet(source.test.images, np.full(6, 2, np.int32))
        with self._with(dataclasses.replace(source, test=strange)):
            self.assertIn("<b>0.0%</b>", report(self.workdir).read_text(encoding="utf-8"))

    def test_features_with_nan_are_named(self):
        self._run(
            change=lambda run: run.online.trainable_variables[0].assign_add(np.nan * run.online.trainable_variables[0])
        )
        with self._with(_source()), self.assertRaisesRegex(ValueError, "--workdir .* NaN or Inf for 6 of 6 pictures"):
            report(self.workdir)

    def test_a_run_without_a_checkpoint_and_a_folder_as_page_are_named(self):
        (self.workdir / "hyperparameters.json").write_text(self.settings.to_json())
        with self.assertRaisesRegex(ValueError, "--workdir must hold a checkpoint"):
            report(self.workdir)
        with self.assertRaisesRegex(ValueError, "--out must be an HTML file"):
            report(self.workdir, out=self.workdir)

    def test_large_sets_are_sampled_and_the_page_says_so(self):
        self._run()
        with self._with(_source()), mock.patch.object(judging, "_MAX_HELD_OUT", 4):
            self.assertIn("a fixed draw of 4 of 6 test pictures", report(self.workdir).read_text(encoding="utf-8"))


if __name__ == "__main__":
    absltest.main()
