"""Tests of semppl.evaluation.exported."""

import contextlib
import dataclasses
import io
import json
import pathlib
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import flagsaver

from semppl.data import splits
from semppl.data.images import NO_LABEL
from semppl.data.sources import load_source
from semppl.data.streaming import StreamedImageSet
from semppl.evaluation import evaluate
from semppl.evaluation.exported import evaluate_model
from semppl.evaluation.results.measures import balanced_accuracy
from semppl.export import export_model
from semppl.export.memory.calibration import CalibrationSettings
from semppl.export.memory.evidence import Evidence
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)
from semppl.tests.export.random_runs import write_run


class ExportedTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        _, cls.network = write_run(folder / "run")
        cls.model = folder / "served" / "1"
        settings = CalibrationSettings(target_risk=0.0, target_coverage=0.5)
        export_model.export(folder / "run", cls.model, calibration_settings=settings, fine_tunable=False)
        export_model.export(folder / "run", folder / "plain" / "1", memory=False, fine_tunable=False)
        cls.plain = folder / "plain" / "1"

    def _expected(self, images, truth):
        memory, _ = Evidence.load(self.model / "assets.extra" / "evidence.npz").build()
        answer = memory.classify(self.network.project(images))
        right, answered = answer["label"].numpy() == truth, ~answer["abstain"].numpy()
        return {
            "accuracy": np.mean(right),
            "balanced_accuracy": balanced_accuracy(answer["label"].numpy(), truth),
            "coverage": np.mean(answered),
            "risk": np.mean(~right[answered]),
        }

    def test_the_answers_that_are_served_are_judged_by_the_test_images_of_the_run(self):
        report = evaluate_model(self.model)
        test = load_source("digits").test
        for name, value in self._expected(test.images, test.labels).items():
            self.assertAlmostEqual(report[name], value, delta=0.011)  # a picture or two by rounding
        self.assertEqual((report["images"], report["classes"]["of"]), (297, "the model's answers"))
        self.assertLen(report["classes"]["per_class"], 10)

    def test_a_source_is_matched_by_the_names_of_its_classes_and_images_without_a_label_are_left_out(self):
        source = load_source("digits")
        labels = np.where(np.arange(297) < 40, 9 - source.test.labels, NO_LABEL)
        named = dataclasses.replace(
            source,
            train=dataclasses.replace(source.test, labels=labels),
            test=None,
            class_names=source.class_names[::-1],
        )
        with mock.patch.object(splits, "load_source", return_value=named):
            report = evaluate_model(self.model, moved={"test": "folder:later"})
        self.assertEqual(report["images"], 40)
        for name, value in self._expected(source.test.images[:40], source.test.labels[:40]).items():
            self.assertAlmostEqual(report[name], value, delta=0.06)

    def test_pictures_on_disk_are_read_one_by_one(self):
        images = np.round(load_source("digits").test.images[:6] * 255).astype(np.uint8)
        files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
        labels = load_source("digits").test.labels[:6]
        streamed = StreamedImageSet(lambda at: {"image": tf.gather(files, at)}, 1, labels, ())
        source = dataclasses.replace(load_source("digits"), train=streamed, test=None)
        with mock.patch.object(splits, "load_source", return_value=source):
            report = evaluate_model(self.model, moved={"test": "folder:later"})
        expected = self._expected(images / np.float32(255), labels)
        self.assertAlmostEqual(report["accuracy"], expected["accuracy"], delta=1e-6)

    def test_what_cannot_be_judged_is_refused(self):
        for model in (self.plain, self.model.parent):
            with self.assertRaisesRegex(ValueError, "^--model must be the folder of an exported model with a memory"):
                evaluate_model(model)
        with self.assertRaisesRegex(ValueError, "^--validation must give held-out images"):
            evaluate_model(self.model, split="validation")

    def test_the_command_prints_the_answers_and_writes_nothing(self):
        before = sorted(self.model.rglob("*"))
        printed = io.StringIO()
        with flagsaver.flagsaver(workdir=None, model=str(self.model)), contextlib.redirect_stdout(printed):
            self.assertEqual(evaluate.main([]), 0)
        self.assertRegex(
            printed.getvalue(), r"^on 297 images: accuracy 0\.\d{4}, balanced 0\.\d{4}; answers \d+\.\d% of them"
        )
        self.assertIn("accuracy per class (the model's answers), the lowest first:", printed.getvalue())
        self.assertEqual(sorted(self.model.rglob("*")), before)
        self.assertTrue(json.loads((self.model / "assets" / "model_card.json").read_text())["memory"])


if __name__ == "__main__":
    tf.test.main()
