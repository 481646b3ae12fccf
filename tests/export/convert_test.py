"""Tests of semppl.export.convert."""

import json
import pathlib
import tempfile
import unittest
from importlib import util
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.data.sources import load_source
from semppl.export import convert, export_model
from semppl.export.model import runtimes
from semppl.tests import testing
from semppl.tests.export.random_runs import write_run

_HAS_ONNX = all(util.find_spec(package) for package in ("tf2onnx", "onnx", "onnxruntime"))


class ConvertTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        write_run(cls.folder / "run")
        cls.model = cls.folder / "1"
        export_model.export(cls.folder / "run", cls.model)
        cls.signatures = tf.saved_model.load(str(cls.model)).signatures
        cls.images = load_source("digits").test.images[:5]

    def _assert_same(self, run, name, value):
        (given,) = self.signatures[name].structured_input_signature[1]
        expected = {key: v.numpy() for key, v in self.signatures[name](**{given: tf.constant(value)}).items()}
        answer = run(value)
        self.assertEqual(set(answer), set(expected))
        for key, values in expected.items():
            if values.dtype.kind == "f":
                self.assertAllClose(answer[key], values, atol=1e-4)
            elif values.dtype == object:
                texts = [v.decode() if isinstance(v, bytes) else v for v in answer[key]]
                self.assertEqual(texts, [v.decode() for v in values])
            else:
                self.assertAllEqual(answer[key], values)

    def _without_decoding(self):
        functions = self.signatures.items()
        return {name for name, function in functions if "bytes" not in function.structured_input_signature[1]}

    def _assert_whole(self, out, report, run, names):
        self.assertEqual(json.loads((out / "conversion.json").read_text()), report)
        self.assertEqual(set(report["signatures"]), names)
        self.assertEqual(set(report["signatures"]) | set(report["left_out"]), set(self.signatures))
        self.assertIn("decodes picture files", report["left_out"]["serving_default"])
        embedding = self.signatures["embed_images"](images=tf.constant(self.images))["embedding"].numpy()
        for name, one in report["signatures"].items():
            self.assertLess(one["largest_difference"], 1e-4)
            value = self.images if name == "embed_images" else embedding
            self._assert_same(run((out / one["file"]).read_bytes()), name, value)
            damaged = np.repeat(value[:1], 4, axis=0)
            damaged.reshape(4, -1)[1:, 0] = np.nan, np.inf, -np.inf
            self._assert_same(run((out / one["file"]).read_bytes()), name, damaged)
        larger = np.random.default_rng(0).uniform(size=(3, 19, 11, 1)).astype(np.float32)  # of another size
        self._assert_same(
            run((out / report["signatures"]["embed_images"]["file"]).read_bytes()), "embed_images", larger
        )
        self.assertTrue((out / "class_names.txt").is_file())

    @unittest.skipUnless(_HAS_ONNX, 'the extra "convert" is not installed')
    def test_onnx_gives_the_same_numbers_as_the_model(self):
        out = self.folder / "onnx"
        report = convert.convert(self.model, "onnx", out)
        self._assert_whole(out, report, runtimes.run_onnx, self._without_decoding())

    @unittest.skipUnless(_HAS_ONNX, 'the extra "convert" is not installed')
    def test_colour_pictures_are_shrunk_and_cropped_too(self):
        self._assert_colours_are_converted(24, "onnx")

    @parameterized.parameters((0, "onnx"), (0, "tflite"), (24, "tflite"))
    @unittest.skipUnless(_HAS_ONNX, 'the extra "convert" is not installed')
    @testing.slow
    def test_colour_pictures_are_converted_in_the_other_cases(self, *case):
        self._assert_colours_are_converted(*case)

    def _assert_colours_are_converted(self, shrink, into):
        pictures = self.folder / f"colours_{shrink}_{into}"
        pictures.mkdir()
        rng = np.random.default_rng(0)
        for number, (height, width) in enumerate([(57, 43), (40, 80), (30, 21)]):
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            (pictures / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
        mean = {"pixel_mean": (0.5,) * 3, "pixel_stddev": (0.25,) * 3}
        run = self.folder / f"run_{shrink}_{into}"
        model = run / "served" / "1"
        write_run(run, queue=False, recipe="imagenet", large_size=16, shrink=shrink, **mean)
        export_model.export(run, model)
        out = self.folder / f"converted_{shrink}_{into}"
        report = convert.convert(model, into, out, reading={"data": f"folder:{pictures}"})
        self.assertEqual(report["pictures_compared"], 3)
        self.assertLess(report["signatures"]["embed_images"]["largest_difference"], 1e-5)

    def test_a_signature_that_fails_is_refused(self):
        def run(value):
            raise RuntimeError("no such kernel\nat a place")

        with (
            mock.patch.object(runtimes, "run_tflite", return_value=run),
            self.assertRaisesRegex(ValueError, "must run in tflite. Received: no such kernel$"),
        ):
            convert.convert(self.model, "tflite", self.folder / "failed")

    def test_a_signature_whose_kernels_the_interpreter_lacks_is_left_out(self):
        def fails(value):
            raise RuntimeError(
                "Make sure you apply/link the Flex delegate before inference.\nNode number 29 failed to prepare."
            )

        out = self.folder / "flex"
        with mock.patch.object(runtimes, "run_tflite", return_value=fails):
            report = convert.convert(self.model, "tflite", out)
        self.assertEmpty(report["signatures"])
        self.assertRegex(
            report["left_out"]["embed_images"], r"^it needs TensorFlow's kernels \(Flex\).* on the stack tf215$"
        )
        self.assertEmpty(list(out.glob("*.tflite")))

    def test_tflite_gives_the_same_numbers_as_the_model(self):
        out = self.folder / "tflite"
        report = convert.convert(self.model, "tflite", out)
        self._assert_whole(out, report, runtimes.run_tflite, self._without_decoding())
        for signature in ("embed_images", "classify_embeddings"):
            self.assertNotIn("needs_tensorflow_kernels", report["signatures"][signature])

    def test_other_numbers_are_refused_and_nothing_is_left(self):
        wrong = mock.patch.object(runtimes, "run_tflite", return_value=lambda value: {})
        message = "must give the model's numbers to 0.0001 in tflite. Received: abstain differs, class_name differs, "
        with wrong, self.assertRaisesRegex(ValueError, message):
            convert.convert(self.model, "tflite", self.folder / "refused")
        self.assertEmpty([path.name for path in self.folder.iterdir() if "refused" in path.name])

    @parameterized.parameters("bfloat16", "float16")
    def test_a_model_in_16_bits_is_refused(self, dtype):
        model = self.folder / "served" / dtype / "1"
        export_model.export(self.folder / "run", model, dtype=dtype, memory=False)
        with self.assertRaisesRegex(ValueError, f"an export with --dtype=float32 or int8 .* Received: {dtype}"):
            convert.convert(model, "tflite", self.folder / "none")

    def test_a_folder_that_is_there_is_refused(self):
        with self.assertRaisesRegex(ValueError, "--out must be a new folder"):
            convert.convert(self.model, "tflite", self.folder)

    @parameterized.parameters(
        ({"a": np.array([0.5, 1.0])}, 0.25),
        ({"a": np.array([0.75, np.nan])}, np.inf),
        ({"a": np.array([0.75])}, np.inf),
        ({"b": np.array([0.75, 1.0])}, np.inf),
    )
    def test_the_largest_difference_is_that_of_numbers(self, answer, expected):
        self.assertEqual(runtimes.largest_difference(answer, {"a": np.array([0.75, 1.0])}), expected)

    def test_each_output_has_its_own_difference(self):
        expected = {
            "abstain": np.array([True, False]),
            "p": np.array([0.5, 1.0]),
            "gone": np.zeros(1),
            "same": np.ones(2),
        }
        answer = {"abstain": np.array([True, True]), "p": np.array([0.5, 0.75]), "new": np.zeros(1), "same": np.ones(2)}
        self.assertEqual(
            runtimes.differences(answer, expected),
            {"abstain": np.inf, "p": 0.25, "gone": np.inf, "new": np.inf, "same": 0.0},
        )
        self.assertEqual(convert._named("p", 0.25), "p is 0.25 off")

    @parameterized.parameters((["a", "b"], 0.0), (["a", "c"], np.inf))
    def test_texts_are_equal_whether_bytes_or_not(self, texts, expected):
        given, wanted = {"a": np.array(texts, object)}, {"a": np.array([b"a", b"b"], object)}
        self.assertEqual(runtimes.largest_difference(given, wanted), expected)


if __name__ == "__main__":
    tf.test.main()
