"""Tests of the layouts of semppl.layers.encoders.resnet, on one image in plain loops."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.encoders import resnet
from semppl.tests.layers import oracles


def _random(shape, seed=0):
    return np.random.default_rng(seed).normal(0.5, 1.0, shape).astype(np.float32)


def _fill(layer):
    for seed, variable in enumerate(layer.variables):
        low = -0.5 if variable.name.endswith("/kernel:0") else 0.5
        variable.assign(np.random.default_rng(seed).uniform(low, 1.0, variable.shape))


def _convolution(image, layer, stride):
    """Convolves with a border of (k - 1) / 2 on all sides: an odd side that is not whole ends one window early."""
    kernel = layer.kernel.numpy()
    size = kernel.shape[0]
    border = (size - 1) // 2
    rows, columns = ((side + 2 * border - size) // stride + 1 for side in image.shape[:2])
    outputs = np.zeros((rows, columns, kernel.shape[-1]))
    for row, column in np.ndindex(rows, columns):
        for i, j in np.ndindex(size, size):
            y, x = row * stride + i - border, column * stride + j - border
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                outputs[row, column] += image[y, x] @ kernel[i, j]
    return outputs


def _norm(inputs, layer):
    return oracles.batch_norm(inputs, *(variable.numpy() for variable in layer.variables))


def _max_pool(image, before):
    """Takes the largest of every 3×3 window with stride 2, the first of which starts `before` pixels outside."""
    outputs = np.zeros((-(-image.shape[0] // 2), -(-image.shape[1] // 2), image.shape[2]))
    for row, column, channel in np.ndindex(*outputs.shape):
        y, x = 2 * row - before, 2 * column - before
        outputs[row, column, channel] = image[max(y, 0) : y + 3, max(x, 0) : x + 3, channel].max()
    return outputs


class LayoutsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("simclr", (1, 2, 1), (6, 4)), ("keras", (2, 1, 1), (6, 4)), ("simclr", (1, 2, 1), (5, 7))
    )
    def test_a_bottleneck_strides_where_its_layout_says_with_the_same_border_on_all_sides(self, layout, strides, sides):
        block = resnet.PostActivationBlock(channels=2, strides=2, bottleneck=True, project=True, layout=layout)
        image = _random((*sides, 3))
        block(image[np.newaxis])
        _fill(block)
        features = image
        for index, stride in enumerate(strides):
            features = _norm(_convolution(features, block.convolutions[index], stride), block.norms[index])
            features = np.maximum(features, 0) if index < 2 else features
        shortcut = _norm(_convolution(image, block.shortcut_conv, 2), block.shortcut_norm)
        self.assertAllClose(block(image[np.newaxis])[0], np.maximum(features + shortcut, 0), rtol=1e-5, atol=1e-5)

    @parameterized.parameters(((6, 4),), ((5, 7),))
    def test_the_shortcut_of_a_selective_block_of_simclr_averages_zeros_beyond_the_border(self, sides):
        block = resnet.PostActivationBlock(
            channels=2, strides=2, bottleneck=True, project=True, selective=True, layout="simclr"
        )
        image = _random((*sides, 3))
        block(image[np.newaxis])
        _fill(block)
        block.norms[-1].gamma.assign(tf.zeros(8))  # the branch is its last offset
        means = np.zeros((-(-sides[0] // 2), -(-sides[1] // 2), 3))
        for row, column in np.ndindex(*means.shape[:2]):
            means[row, column] = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].sum((0, 1)) / 4
        shortcut = _norm(_convolution(means, block.shortcut_conv, 1), block.shortcut_norm)
        expected = np.maximum(shortcut + block.norms[-1].beta.numpy(), 0)
        self.assertAllClose(block(image[np.newaxis])[0], expected, rtol=1e-5, atol=1e-5)

    @parameterized.parameters(("simclr", 0), ("keras", 1))
    def test_the_stem_has_the_same_border_on_all_sides_and_its_pool_where_the_layout_says(self, layout, before):
        net = resnet.ResNet(18, width=0.125, layout=layout)
        image = _random((12, 8, 2))
        net(image[np.newaxis])
        _fill(net)
        features = np.maximum(_norm(_convolution(image, net.stem_convolutions[0], 2), net.stem_norms[0]), 0)
        expected = _max_pool(features, before)
        self.assertAllClose(net._apply_stem(image[np.newaxis], False)[0], expected, rtol=1e-5, atol=1e-5)

    @parameterized.parameters("simclr", "keras")
    def test_weights_have_the_shapes_of_the_official_layout(self, layout):
        shapes = []
        for name in (layout, "official"):
            net = resnet.ResNet(50, width=0.125, layout=name, name="net")
            self.assertEqual(net(_random((1, 32, 32, 3))).shape, (1, 256))
            shapes.append({variable.name: variable.shape for variable in net.variables})
        self.assertEqual(*shapes)

    def test_the_layout_is_part_of_the_configuration(self):
        net = resnet.ResNet(18, width=0.125, layout="simclr")
        self.assertEqual(resnet.ResNet.from_config(net.get_config()).layout, "simclr")
        block = resnet.PostActivationBlock(8, layout="keras")
        self.assertEqual(resnet.PostActivationBlock.from_config(block.get_config()).layout, "keras")

    @parameterized.parameters({"layout": "torch"}, {"layout": "keras", "version": 2})
    def test_wrong_layouts_are_refused(self, **arguments):
        with self.assertRaisesRegex(ValueError, r"`layout` must be one of \['keras', 'official', 'simclr'\]"):
            resnet.ResNet(50, **arguments)


if __name__ == "__main__":
    tf.test.main()
