"""Tests of semppl.layers.encoders.convnet."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.encoders import convnet
from semppl.tests.layers import oracles


def _random(shape, seed=0):
    return np.random.default_rng(seed).normal(0.5, 1.0, shape).astype(np.float32)


class ConvNetTest(tf.test.TestCase, parameterized.TestCase):
    def tearDown(self):
        tf.keras.mixed_precision.set_global_policy("float32")
        super().tearDown()

    @parameterized.parameters(1, 2)
    def test_features_match_plain_loops(self, stem_stride):
        images, net = _random((1, 9, 8, 2)), convnet.ConvNet((2, 3, 4), stem_stride=stem_stride)
        net(images)
        for seed, variable in enumerate(net.variables):
            low = -1.0 if variable.name.endswith("/kernel:0") else 0.5
            variable.assign(np.random.default_rng(seed).uniform(low, 1.0, variable.shape))
        expected = images[0].astype(np.float64)
        for stage, (conv, norm) in enumerate(zip(net.convolutions, net.norms, strict=True)):
            expected = oracles.convolution(expected, conv.kernel.numpy(), 2 if stage else stem_stride)
            expected = np.maximum(oracles.batch_norm(expected, *(weight.numpy() for weight in norm.weights)), 0)
        self.assertGreater(np.std(expected), 0.1)  # neither NaN nor all zero
        self.assertAllClose(net(images)[0], expected.mean((0, 1)), rtol=1e-5, atol=1e-5)

    @parameterized.product(sides=((8, 8), (9, 13), (32, 32)), channels=(1, 3, 4), stem_stride=(1, 2))
    def test_any_image_gives_features_of_the_last_width(self, sides, channels, stem_stride):
        net = convnet.ConvNet((4, 8), stem_stride=stem_stride)
        self.assertEqual(net(_random((2, *sides, channels)), training=True).shape, (2, 8))

    def test_views_of_two_sizes_share_the_variables(self):
        net = convnet.ConvNet((4, 8))
        net(_random((2, 16, 16, 3)))
        count = len(net.variables)
        self.assertEqual(net(_random((2, 8, 8, 3))).shape, (2, 8))
        self.assertLen(net.variables, count)

    def test_variables_have_readable_names(self):
        net = convnet.ConvNet((4, 8), name="encoder")
        net(_random((2, 8, 8, 1)))
        expected = [
            f"encoder/{name}:0"
            for stage in (0, 1)
            for name in (f"conv_{stage}/kernel", f"norm_{stage}/gamma", f"norm_{stage}/beta")
        ]
        self.assertCountEqual([variable.name for variable in net.trainable_variables], expected)

    def test_batch_norm_mixes_images_and_group_norm_does_not(self):
        images = _random((4, 8, 8, 1))
        for norm, mixes in (("batch", True), ("group", False)):
            net = convnet.ConvNet((16, 32), norm)
            alone, together = net(images[:2], training=True), net(images, training=True)[:2]
            self.assertEqual(not np.allclose(alone, together, atol=1e-4), mixes)

    def test_group_norm_comes_with_standardised_weights(self):
        images, net = _random((2, 8, 8, 1)), convnet.ConvNet((16, 32), "group")
        expected = net(images)
        for conv in net.convolutions:
            conv.kernel.assign(conv.kernel * 2.0 + 0.3)
        self.assertAllClose(net(images), expected, rtol=1e-3, atol=1e-4)

    def test_features_are_averaged_in_float32_under_bfloat16(self):
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        net = convnet.ConvNet((1,))
        images = np.ones((1, 64, 64, 1), np.float32)
        net(images)
        net.convolutions[0].kernel.assign(np.eye(3)[1][:, None, None, None] * np.eye(3)[1][None, :, None, None])
        features = net(images)
        self.assertEqual(features.dtype, tf.float32)
        self.assertAllClose(features, [[1.0]], rtol=2**-8)  # 4096 ones

    @parameterized.parameters(
        ({"widths": ()}, r"widths=\(\)"),
        ({"widths": (4, 0)}, r"widths=\(4, 0\)"),
        ({"stem_stride": 3}, "stem_stride=3"),
        ({"norm": "layer"}, "kind='layer'"),
    )
    def test_wrong_arguments_are_refused(self, arguments, message):
        with self.assertRaisesRegex(ValueError, f"Received: {message}"):
            convnet.ConvNet(**arguments)


if __name__ == "__main__":
    tf.test.main()
