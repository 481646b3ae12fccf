"""Tests of semppl.layers.heads."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers import heads
from semppl.tests import testing
from semppl.tests.export.foreign import haiku_goldens


def _random(shape, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, shape).astype(np.float32)


class MLPTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((True, "train"), (False, "eval"))
    def test_outputs_equal_the_official_projector(self, training, golden):
        with np.load(testing.golden("projector.npz")) as recorded:
            inputs, expected = recorded["input"], recorded[golden]
        projector = heads.MLP(4096, 256)
        haiku_goldens.restore(projector, "projector", inputs)
        outputs = projector(inputs, training=training).numpy()
        self.assertLess(np.linalg.norm(outputs - expected), 1e-4 * np.linalg.norm(expected))

    def test_inference_matches_plain_loops(self):
        head, inputs = heads.MLP(3, 2), _random((2, 4))
        head(inputs)
        for seed, variable in enumerate(head.variables):
            variable.assign(np.random.default_rng(seed).uniform(0.5, 1.5, variable.shape))
        kernel, bias = (variable.numpy().astype(np.float64) for variable in head.hidden.variables)
        gain, offset, mean, variance = (variable.numpy().astype(np.float64) for variable in head.hidden_norm.variables)
        (last,) = (variable.numpy().astype(np.float64) for variable in head.outputs.variables)
        expected = np.zeros((2, 2))
        for row in range(2):
            for unit in range(3):
                hidden = bias[unit]
                for feature in range(4):
                    hidden += inputs[row, feature] * kernel[feature, unit]
                hidden = (hidden - mean[unit]) / np.sqrt(variance[unit] + 1e-5) * gain[unit] + offset[unit]
                for output in range(2):
                    expected[row, output] += max(hidden, 0.0) * last[unit, output]
        self.assertAllClose(head(inputs), expected, rtol=1e-5, atol=1e-5)

    def test_only_the_hidden_layer_has_bias_and_norm(self):
        head = heads.MLP(12, 6, name="predictor")
        head(_random((2, 4)))
        expected = {
            "predictor/hidden/kernel:0": (4, 12),
            "predictor/hidden/bias:0": (12,),
            "predictor/hidden_norm/gamma:0": (12,),
            "predictor/hidden_norm/beta:0": (12,),
            "predictor/outputs/kernel:0": (12, 6),
        }
        self.assertEqual({weight.name: tuple(weight.shape) for weight in head.trainable_weights}, expected)

    def test_batch_norm_mixes_rows_and_group_norm_does_not(self):
        inputs = _random((4, 8))
        for norm, mixes in (("batch", True), ("group", False)):
            head = heads.MLP(32, 6, norm)
            alone, together = head(inputs[:2], training=True), head(inputs, training=True)[:2]
            self.assertEqual(not np.allclose(alone, together, atol=1e-4), mixes)

    @parameterized.parameters((0, 6), (12, 0))
    def test_empty_layers_are_refused(self, hidden_width, output_width):
        with self.assertRaisesRegex(ValueError, f"hidden_width={hidden_width}, output_width={output_width}"):
            heads.MLP(hidden_width, output_width)


if __name__ == "__main__":
    tf.test.main()
