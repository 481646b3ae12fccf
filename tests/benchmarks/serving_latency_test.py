"""Tests of semppl.benchmarks.serving_latency."""

import importlib.util
import pathlib
import unittest

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.benchmarks import serving_latency
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)

_RUNTIMES = all(importlib.util.find_spec(name) for name in ("onnxruntime", "openvino", "tf2onnx"))


class ServingLatencyTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("float32", "bfloat16")
    @unittest.skipUnless(_RUNTIMES, 'the extra "runtimes" is not installed')
    def test_all_runtimes_are_timed_on_the_same_pictures(self, dtype):
        folder = pathlib.Path(self.create_tempdir().full_path)
        timed = serving_latency.contenders("convnet", 32, serving_latency.picture_files(2, 32), folder, dtype)
        names = ("SavedModel", "ONNX Runtime", "OpenVINO")
        self.assertCountEqual(timed, [name + suffix for name in names for suffix in ("", ", network")])
        for run in timed.values():
            self.assertEqual(np.shape(run()), (2, 256))

    @parameterized.parameters(32, 224)
    def test_pillow_sees_what_the_model_sees(self, size):
        (file,) = serving_latency.picture_files(1, size)
        embedder, _ = serving_latency.random_embedders("convnet", size)
        prepared, valid = embedder.read_bytes(tf.constant([file]))
        self.assertTrue(valid[0])
        self.assertAllClose(serving_latency.decode(file, size), prepared[0], atol=1e-3)

    def test_ours_is_compared_with_the_fastest_other(self):
        seconds = {"SavedModel": 0.003, "ONNX Runtime": 0.004, "OpenVINO": 0.002}
        lines = serving_latency.table({"a, batch 1": seconds}, "")
        self.assertEqual(lines[-1], "| a, batch 1 | 3.00 ms | 4.00 ms | 2.00 ms | 1.50 |")


if __name__ == "__main__":
    tf.test.main()
