"""Tests of semppl.export.serving.predictor and of the versions that it runs."""

import contextlib
import io
import pathlib
import shutil
import threading
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.export.serving.json_tensors import BadRequest
from semppl.export.serving.model_versions import ModelVersions, Version
from semppl.export.serving.predictor import Busy, Limits, NotServed, Predictor
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)


class _Doubler(tf.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = tf.Variable(factor)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def scaled(self, x):
        tf.debugging.assert_less(x, 100.0)
        return {"y": self.factor * x, "z": -x}


class _TestCase(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.base = pathlib.Path(self.create_tempdir().full_path) / "model"
        self.enter_context(contextlib.redirect_stderr(io.StringIO()))

    def _write(self, version, factor=2.0):
        model = _Doubler(factor)
        aside = self.base / f".{version}"
        tf.saved_model.save(model, str(aside), signatures={"serving_default": model.scaled})
        aside.rename(self.base / str(version))

    def _predictor(self, **limits):
        self._write(1)
        return Predictor(ModelVersions("model", self.base), Limits(**limits))


class PredictorTest(_TestCase):
    def _predict(self, predictor, rows=1, *, value=1.0, dtype=np.float32, signature="serving_default", outputs=()):
        inputs = {"x": np.full([rows, 2], value, dtype)}
        return predictor.predict(predictor.find("model"), signature, inputs, outputs)

    def test_a_signature_is_run(self):
        answer = self._predict(self._predictor(), 3)
        self.assertAllEqual(answer["y"], np.full([3, 2], 2.0))
        self.assertAllEqual(answer["z"], np.full([3, 2], -1.0))

    def test_no_rows_are_answered_by_no_rows(self):
        self.assertEqual(self._predict(self._predictor(), 0)["y"].shape, (0, 2))

    def test_only_the_outputs_that_are_wanted_come_back(self):
        self.assertEqual(set(self._predict(self._predictor(), outputs=["z"])), {"z"})

    @parameterized.parameters(
        ({"rows": 5}, "x must have at most 4 rows. Received: 5"),
        ({"dtype": np.int32}, r"x must be float32 of shape \(None, 2\). Received: int32"),
        ({"outputs": ["w"]}, r"Outputs must be of the signature. Received: \['w'\]"),
        ({"value": 200.0}, "assertion failed"),
    )
    def test_what_does_not_fit_is_refused(self, asked, message):
        predictor = self._predictor(rows=4)
        with self.assertRaisesRegex(BadRequest, message):
            self._predict(predictor, **asked)
        self.assertEqual(predictor.counts, {"ok": 0, "refused": 1, "busy": 0})
        self._predict(predictor)
        self.assertEqual(predictor.counts, {"ok": 1, "refused": 1, "busy": 0})

    def test_what_cannot_be_made_out_is_counted_as_refused(self):
        predictor = self._predictor()
        for error in (BadRequest("no JSON"), NotServed("no model")):
            with self.assertRaises(type(error)), predictor.reading():
                raise error
        self.assertEqual(predictor.counts, {"ok": 0, "refused": 2, "busy": 0})

    def test_what_is_not_here_is_not_found(self):
        predictor = self._predictor()
        self.assertEqual(predictor.find("model", 1).number, 1)
        for asked in (("other",), ("model", 2)):
            with self.assertRaises(NotServed):
                predictor.find(*asked)
        with self.assertRaises(NotServed):
            self._predict(predictor, signature="other")

    def test_whoever_waits_too_long_is_sent_away_and_the_next_one_is_served(self):
        predictor = self._predictor(at_once=1, seconds=0.05)
        current, begun, go_on = predictor.find("model"), threading.Event(), threading.Event()
        run = current.functions["serving_default"]

        def slow(**inputs):
            begun.set()
            go_on.wait(60)
            return run(**inputs)

        current.functions["serving_default"] = slow
        first = threading.Thread(target=self._predict, args=(predictor,))
        first.start()
        begun.wait(60)
        with self.assertRaises(Busy):
            self._predict(predictor)
        go_on.set()
        first.join()
        self._predict(predictor)
        self.assertEqual(predictor.counts, {"ok": 2, "refused": 0, "busy": 1})

    @parameterized.parameters("rows", "request_bytes", "at_once", "seconds")
    def test_limits_are_positive(self, name):
        with self.assertRaisesRegex(ValueError, "must be positive. Received: 0"):
            Limits(**{name: 0})


class ModelVersionsTest(_TestCase):
    def test_a_folder_that_tensorflow_would_not_find_is_refused(self):
        with self.assertRaisesRegex(ValueError, "^--model_base_path must be a path without"):
            ModelVersions("model", self.base / "served [v2]")

    def test_the_largest_number_is_served_and_a_larger_one_takes_over(self):
        self._write(2)
        self._write(10, factor=3.0)
        (self.base / "notes").mkdir()
        (self.base / ".11-half").mkdir()
        versions = ModelVersions("model", self.base)
        self.assertEqual((versions.current.number, versions.states), (10, {10: ("AVAILABLE", "")}))
        self._write(11, factor=4.0)
        versions.look()
        self.assertEqual((versions.current.number, versions.states), (11, {11: ("AVAILABLE", "")}))
        answer = versions.current.functions["serving_default"](x=np.ones([1, 2], np.float32))
        self.assertAllEqual(answer["y"], [[4.0, 4.0]])

    def test_a_version_that_cannot_be_loaded_leaves_the_one_before(self):
        self._write(1)
        versions = ModelVersions("model", self.base)
        (self.base / "2").mkdir()
        (self.base / "2" / "saved_model.pb").write_bytes(b"rubbish")
        versions.look()
        self.assertEqual(versions.current.number, 1)
        self.assertEqual(versions.states[1], ("AVAILABLE", ""))
        self.assertEqual(versions.states[2][0], "END")
        self._write(3)
        versions.look()
        self.assertEqual(versions.current.number, 3)

    def test_the_newest_version_that_can_be_loaded_is_served_from_the_start(self):
        self._write(1)
        self._write(2)
        (self.base / "3").mkdir()
        (self.base / "3" / "saved_model.pb").write_bytes(b"rubbish")
        versions = ModelVersions("model", self.base)
        self.assertEqual((versions.current.number, versions.states[3][0]), (2, "END"))

    def test_a_version_that_failed_is_tried_again_when_its_files_have_changed(self):
        self._write(1)
        (self.base / "2").mkdir()
        (self.base / "2" / "saved_model.pb").write_bytes(b"half")
        versions = ModelVersions("model", self.base)
        with mock.patch.object(Version, "load") as load:
            versions.look()
        load.assert_not_called()
        shutil.rmtree(self.base / "2")
        self._write(2)
        versions.look()
        self.assertEqual((versions.current.number, versions.states), (2, {2: ("AVAILABLE", "")}))

    def test_an_error_without_a_word_is_named_by_its_kind(self):
        self._write(1)
        with (
            mock.patch.object(Version, "load", side_effect=MemoryError()),
            self.assertRaisesRegex(ValueError, "MemoryError"),
        ):
            ModelVersions("model", self.base)

    def test_a_version_that_is_removed_stays_until_there_is_a_newer_one(self):
        self._write(1)
        versions = ModelVersions("model", self.base)
        shutil.rmtree(self.base / "1")
        versions.look()
        self.assertEqual(versions.current.number, 1)

    def test_a_folder_without_a_version_is_refused(self):
        with self.assertRaisesRegex(ValueError, "--model_base_path must be a folder with a version"):
            ModelVersions("model", self.base)

    @parameterized.parameters(0.0, -1.0)
    def test_newer_versions_are_not_looked_for_if_there_is_no_time_between(self, seconds):
        self._write(1)
        versions = ModelVersions("model", self.base)
        self.addCleanup(versions.stop)
        with mock.patch.object(versions, "look") as look:
            thread = versions.watch(seconds)
            thread.join(10)
        self.assertFalse(thread.is_alive())
        look.assert_not_called()

    def test_newer_versions_are_looked_for_until_it_is_stopped(self):
        self._write(1)
        versions = ModelVersions("model", self.base)
        thread = versions.watch(0.01)
        self._write(2)
        for _ in range(1000):
            if versions.current.number == 2:
                break
            thread.join(0.02)
        self.assertEqual(versions.current.number, 2)
        versions.stop()
        thread.join(60)
        self.assertFalse(thread.is_alive())


if __name__ == "__main__":
    tf.test.main()
