"""Tests of semppl.layers.encoders.resnet9."""

import itertools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.encoders import resnet9
from semppl.tests.layers import oracles


def _random(shape, seed=0):
    return np.random.default_rng(seed).normal(0.5, 1.0, shape).astype(np.float32)


def _differences(image, kernel):
    """Applies a 2×2 kernel to every patch of `[H, W, C]`, in plain loops."""
    height, width, channels = image.shape
    outputs = np.zeros((height - 1, width - 1, kernel.shape[-1]))
    for y, x, out in np.ndindex(*outputs.shape):
        for i, j, c in itertools.product(range(2), range(2), range(channels)):
            outputs[y, x, out] += image[y + i, x + j, c] * kernel[i, j, c, out]
    return outputs


def _largest(image):
    """Keeps the largest value of every whole 2×2 window of `[H, W, C]`."""
    height, width, channels = image.shape
    outputs = np.empty((height // 2, width // 2, channels))
    for y, x, c in np.ndindex(*outputs.shape):
        outputs[y, x, c] = max(image[2 * y + i, 2 * x + j, c] for i in range(2) for j in range(2))
    return outputs


class ResNet9Test(tf.test.TestCase, parameterized.TestCase):
    def test_features_match_plain_loops(self):
        images, net = _random((1, 10, 9, 2)), resnet9.ResNet9((3, 4))
        net(images)
        for seed, variable in enumerate(net.variables):
            low = -1.0 if variable.name.endswith("/kernel:0") else 0.5
            variable.assign(np.random.default_rng(seed).uniform(low, 1.0, variable.shape))
        kernel = net.whitening.convolution.kernel.numpy()
        expected = np.maximum(_differences(images[0].astype(np.float64), kernel), 0)
        for group in range(2):
            pooled = _largest(oracles.convolution(expected, net.pooled[group].kernel.numpy(), 1))
            norm = [weight.numpy() for weight in net.pooled_norms[group].weights]
            pooled = np.maximum(oracles.batch_norm(pooled, *norm), 0)
            residual = oracles.convolution(pooled, net.residual[group].kernel.numpy(), 1)
            norm = [weight.numpy() for weight in net.residual_norms[group].weights]
            expected = pooled + np.maximum(oracles.batch_norm(residual, *norm), 0)
        self.assertGreater(np.std(expected), 0.1)  # neither NaN nor all zero
        self.assertAllClose(net(images)[0], expected.mean((0, 1)), rtol=1e-5, atol=1e-5)

    @parameterized.product(sides=((9, 9), (9, 13), (32, 32)), channels=(1, 3))
    def test_any_image_of_enough_pixels_gives_features_of_the_last_width(self, sides, channels):
        net = resnet9.ResNet9((4, 4, 8))
        self.assertEqual(net(_random((2, *sides, channels)), training=True).shape, (2, 8))
        self.assertEqual(net.smallest_size, 9)

    def test_only_the_whitening_is_not_trained(self):
        net = resnet9.ResNet9((4, 8))
        net(_random((2, 8, 8, 3)))
        self.assertLen(net.trainable_variables, 2 * 2 * 3)
        self.assertNotIn("whitening", "".join(variable.name for variable in net.trainable_variables))

    def test_group_norm_comes_with_standardised_weights(self):
        images, net = _random((2, 9, 9, 1)), resnet9.ResNet9((16, 32), "group")
        expected = net(images)
        for conv in (*net.pooled, *net.residual):
            conv.kernel.assign(conv.kernel * 2.0 + 0.3)
        self.assertAllClose(net(images), expected, rtol=1e-3, atol=1e-4)

    @parameterized.parameters(({"widths": ()}, r"widths=\(\)"), ({"widths": (4, 0)}, r"widths=\(4, 0\)"))
    def test_wrong_arguments_are_refused(self, arguments, message):
        with self.assertRaisesRegex(ValueError, f"Received: {message}"):
            resnet9.ResNet9(**arguments)


if __name__ == "__main__":
    tf.test.main()
