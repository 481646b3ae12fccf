"""Tests of semppl.layers.encoders.selective_kernel."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.encoders import selective_kernel
from semppl.tests.layers import oracles


def _random(shape, seed=0):
    return np.random.default_rng(seed).normal(0.5, 1.0, shape).astype(np.float32)


class SelectiveKernelTest(tf.test.TestCase, parameterized.TestCase):
    def tearDown(self):
        tf.keras.mixed_precision.set_global_policy("float32")
        super().tearDown()

    def test_mixture_matches_plain_loops(self):
        images, layer = _random((2, 3, 2, 8)), selective_kernel.SelectiveKernel()
        layer(images)
        for seed, variable in enumerate(layer.variables):
            low = -1.0 if variable.name.endswith("/kernel:0") else 0.2
            variable.assign(np.random.default_rng(seed).uniform(low, 1.0, variable.shape))
        weights = (
            layer.hidden.kernel.numpy(),
            [w.numpy() for w in layer.hidden_norm.weights],
            layer.scores.kernel.numpy(),
        )
        expected = [oracles.selective_kernel(image, *weights) for image in images]
        self.assertAllClose(layer(images), expected, rtol=1e-5, atol=1e-5)

    def test_equal_scores_give_the_mean_of_the_streams(self):
        images, layer = _random((2, 3, 2, 8)), selective_kernel.SelectiveKernel()
        layer(images)
        layer.scores.kernel.assign(tf.zeros_like(layer.scores.kernel))
        self.assertAllClose(layer(images), (images[..., :4] + images[..., 4:]) / 2, rtol=1e-6, atol=1e-6)

    @parameterized.parameters((8, 0.0625, 32), (2048, 0.0625, 64), (2048, 0.03, 32), (512, 0.5, 128))
    def test_the_hidden_layer_is_a_share_of_the_output_and_at_least_32_wide(self, channels, ratio, width):
        layer = selective_kernel.SelectiveKernel(ratio, name="mixture")
        layer(tf.zeros((1, 1, 1, channels)))
        shapes = {weight.name: tuple(weight.shape) for weight in layer.trainable_weights}
        expected = {
            "mixture/hidden/kernel:0": (channels // 2, width),
            "mixture/hidden_norm/gamma:0": (width,),
            "mixture/hidden_norm/beta:0": (width,),
            "mixture/scores/kernel:0": (width, channels),
        }
        self.assertEqual(shapes, expected)

    def test_batch_norm_mixes_images_and_group_norm_does_not(self):
        images = _random((4, 3, 3, 8))
        for norm, mixes in (("batch", True), ("group", False)):
            layer = selective_kernel.SelectiveKernel(norm=norm)
            alone, together = layer(images[:2], training=True), layer(images, training=True)[:2]
            self.assertEqual(not np.allclose(alone, together, atol=1e-4), mixes)

    def test_means_are_exact_under_bfloat16(self):
        images = np.ones((1, 64, 64, 8), np.float32)
        exact = selective_kernel.SelectiveKernel()
        expected = exact(images)
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        mixed = selective_kernel.SelectiveKernel()
        mixed(images)
        for variable, value in zip(mixed.variables, exact.variables, strict=True):
            variable.assign(value)
        outputs = mixed(images * [1, 1, 1, 1, 0, 0, 0, 0])
        expected = exact(images * [1, 1, 1, 1, 0, 0, 0, 0])
        self.assertEqual(outputs.dtype, tf.bfloat16)
        self.assertAllClose(tf.cast(outputs, tf.float32), expected, rtol=0.02)

    def test_wrong_arguments_are_refused(self):
        with self.assertRaisesRegex(ValueError, "Received: ratio=0"):
            selective_kernel.SelectiveKernel(0)
        with self.assertRaisesRegex(ValueError, r"Received: input_shape=\(1, 1, 1, 7\)"):
            selective_kernel.SelectiveKernel()(tf.zeros((1, 1, 1, 7)))


if __name__ == "__main__":
    tf.test.main()
