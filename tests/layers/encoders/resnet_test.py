"""Tests of semppl.layers.encoders.resnet."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.blocks import normalisation
from semppl.layers.encoders import resnet
from semppl.tests import testing
from semppl.tests.export.foreign import haiku_goldens
from semppl.tests.layers import oracles

_OFFICIAL = {
    "ResNet18_1x": {"depth": 18},
    "ResNet50_1x": {"depth": 50},
    "ResNet50_2x": {"depth": 50, "width": 2},
    "ResNet50_1x_v2": {"depth": 50, "version": 2},
}


def _random(shape, seed=0):
    return np.random.default_rng(seed).normal(0.5, 1.0, shape).astype(np.float32)


def _fill(layer):
    for seed, variable in enumerate(layer.variables):
        low = -0.5 if variable.name.endswith("/kernel:0") else 0.5
        variable.assign(np.random.default_rng(seed).uniform(low, 1.0, variable.shape))


def _official(name, arguments):
    net = resnet.ResNet(**arguments)
    haiku_goldens.restore(net, f"res_net{arguments['depth']}", haiku_goldens.images())
    with np.load(testing.golden(f"{name}.npz")) as recorded:
        return net, dict(recorded)


def _abstract_shapes(**arguments):
    """Shapes of the trainable variables by name, without any memory for them."""
    with tf.Graph().as_default():
        net = resnet.ResNet(name="net", **arguments)
        net(tf.compat.v1.placeholder(tf.float32, (None, 64, 64, 3)))
        return {variable.name.removesuffix(":0"): tuple(variable.shape) for variable in net.trainable_variables}


class OfficialNetworksTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*((name, name, arguments) for name, arguments in _OFFICIAL.items()))
    def test_features_and_statistics_equal_the_recorded_ones(self, name, arguments):
        net, recorded = _official(name, arguments)
        self._assert_near(net(haiku_goldens.images()), recorded["features_eval"])
        norm = net.final_norm if net.version == 2 else net.stem_norms[0]
        before = norm.moving_mean.numpy(), norm.moving_variance.numpy()
        self._assert_near(net(haiku_goldens.images(), training=True), recorded["features_train"])
        module = f"res_net{net.depth}/~/{'final' if net.version == 2 else 'initial'}_batchnorm"
        for average, old, new in zip(("mean_ema", "var_ema"), before, norm.variables[2:], strict=True):
            hidden = f"{module}/~/{average}/hidden"
            after = recorded[f"newstate:{hidden}"].ravel()
            expected = (after - 0.9 * haiku_goldens.array(hidden, after.shape)) / 0.1
            self._assert_near((new.numpy() - 0.9 * old) / 0.1, expected)

    @testing.slow
    def test_features_of_resnet200_equal_the_recorded_ones(self):
        net, recorded = _official("ResNet200_2x", {"depth": 200, "width": 2})
        self._assert_near(net(haiku_goldens.images()), recorded["features_eval"])

    def _assert_near(self, values, expected):
        self.assertEqual(tuple(values.shape), expected.shape)
        self.assertLess(np.linalg.norm(values - expected), 1e-4 * np.linalg.norm(expected))


class ResNetTest(tf.test.TestCase, parameterized.TestCase):
    def tearDown(self):
        tf.keras.mixed_precision.set_global_policy("float32")
        super().tearDown()

    # Published sizes without the final layer; the first shortcut's projection adds 64·64 + 2·64 at depth 18 and 34.
    @parameterized.parameters(
        ({"depth": 18}, 11_176_512 + 4_224),
        ({"depth": 34}, 21_284_672 + 4_224),
        ({"depth": 50}, 23_508_032),
        ({"depth": 50, "norm": "group"}, 23_508_032),
        ({"depth": 18, "stem": "cifar"}, 11_168_832 + 4_224),
    )
    def test_the_known_networks_have_their_known_sizes(self, arguments, size):
        self.assertEqual(sum(int(np.prod(shape)) for shape in _abstract_shapes(**arguments).values()), size)

    @testing.slow
    def test_the_deepest_networks_have_their_known_sizes(self):
        for depth, size in ((101, 42_500_160), (152, 58_143_808)):
            self.assertEqual(sum(int(np.prod(shape)) for shape in _abstract_shapes(depth=depth).values()), size)

    def test_selective_kernels_add_what_their_definition_says(self):
        size = 23_508_032 - 7 * 7 * 3 * 64 - 2 * 64  # all but the stem
        size += 3 * 3 * 3 * 32 + 3 * 3 * 32 * 32 + 3 * 3 * 32 * 64 + 2 * (32 + 32 + 64)
        for channels, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
            hidden = max(channels // 16, 32)
            second_stream = 3 * 3 * channels * channels + 2 * channels
            mixture = channels * hidden + 2 * hidden + hidden * 2 * channels
            size += blocks * (second_stream + mixture)
        shapes = _abstract_shapes(depth=50, selective=True)
        self.assertEqual(sum(int(np.prod(shape)) for shape in shapes.values()), size)

    @parameterized.parameters((0.25, 16), (0.3, 16), (0.01, 8), (1, 64), (1.5, 96), (4, 256))
    def test_widths_become_positive_multiples_of_8(self, width, channels):
        self.assertEqual(resnet.scaled_channels(64, width), channels)

    def test_a_narrow_network_has_narrow_groups(self):
        shapes = _abstract_shapes(depth=18, stem="cifar", width=0.25)
        self.assertEqual(shapes["net/initial_conv/kernel"], (3, 3, 3, 16))
        self.assertEqual(shapes["net/block_group_3/block_1/conv_1/kernel"], (3, 3, 128, 128))

    @parameterized.parameters(("imagenet", False, 8), ("cifar", False, 32), ("imagenet", True, 8), ("cifar", True, 32))
    def test_stems_divide_the_sides_by_four_or_keep_them(self, stem, selective, side):
        net = resnet.ResNet(50, width=0.125, stem=stem, selective=selective)
        self.assertEqual(net._apply_stem(_random((2, 32, 32, 3)), False).shape, (2, side, side, 8))

    @parameterized.parameters((1, True), (2, False))
    def test_a_bottleneck_of_version_1_starts_as_its_shortcut(self, version, starts_so):
        block_class = {1: resnet.PostActivationBlock, 2: resnet.PreActivationBlock}[version]
        inputs = np.abs(_random((2, 4, 4, 32)))
        block = block_class(channels=8, bottleneck=True)
        self.assertEqual(np.allclose(block(inputs, training=True), inputs), starts_so)

    def test_a_basic_block_does_not_start_as_its_shortcut(self):
        inputs = np.abs(_random((2, 4, 4, 8)))
        self.assertNotAllClose(resnet.PostActivationBlock(channels=8)(inputs, training=True), inputs)

    @parameterized.parameters((1, (5, 4)), (2, (5, 4)))
    def test_a_block_with_selective_kernels_matches_plain_loops(self, strides, sides):
        images = _random((1, *sides, 3))
        block = resnet.PostActivationBlock(2, strides, bottleneck=True, project=True, selective=True)
        block(images)
        _fill(block)
        convolve = lambda x, layer, stride=1: oracles.convolution(x, layer.kernel.numpy(), stride)  # noqa: E731
        normalise = lambda x, layer: oracles.batch_norm(x, *(w.numpy() for w in layer.weights))  # noqa: E731
        image = images[0].astype(np.float64)
        features = np.maximum(normalise(convolve(image, block.convolutions[0]), block.norms[0]), 0)
        features = np.maximum(normalise(convolve(features, block.convolutions[1], strides), block.norms[1]), 0)
        features = oracles.selective_kernel(
            features,
            block.mixture.hidden.kernel.numpy(),
            [weight.numpy() for weight in block.mixture.hidden_norm.weights],
            block.mixture.scores.kernel.numpy(),
        )
        features = normalise(convolve(features, block.convolutions[2]), block.norms[2])
        pooled = oracles.average_pool(image, strides)
        shortcut = normalise(convolve(pooled, block.shortcut_conv), block.shortcut_norm)
        expected = np.maximum(features + shortcut, 0)
        self.assertGreater(np.std(expected), 0.1)  # neither NaN nor all zero
        self.assertAllClose(block(images)[0], expected, rtol=1e-5, atol=1e-5)

    @parameterized.parameters(
        {"depth": 18, "stem": "cifar"},
        {"depth": 18, "version": 2, "stem": "cifar"},
        {"depth": 50, "selective": True, "stem": "cifar"},
    )
    def test_group_norm_keeps_images_apart(self, **arguments):
        images = _random((3, 8, 8, 3))
        net = resnet.ResNet(width=0.25, norm="group", **arguments)
        together = net(images, training=True)
        self.assertAllClose(net(images[:1], training=True), together[:1], rtol=1e-4, atol=1e-4)
        self.assertEqual(len(net.variables), len(net.trainable_variables))
        self.assertNotEmpty([layer for layer in net.submodules if isinstance(layer, tf.keras.layers.Conv2D)])
        for layer in net.submodules:
            if isinstance(layer, tf.keras.layers.Conv2D):
                self.assertIsInstance(layer, normalisation.StandardisedConv2D)

    def test_batch_norm_mixes_images_in_training_only(self):
        images = _random((3, 8, 8, 3))
        net = resnet.ResNet(18, width=0.125, stem="cifar")
        self.assertNotAllClose(net(images[:2], training=True), net(images, training=True)[:2], atol=1e-3)
        self.assertAllClose(net(images[:2]), net(images)[:2], rtol=1e-5, atol=1e-5)

    def test_training_moves_every_average(self):
        net = resnet.ResNet(50, width=0.125, stem="cifar", selective=True)
        net(_random((3, 8, 8, 3)))
        before = [variable.numpy() for variable in net.non_trainable_variables]
        net(_random((3, 8, 8, 3)), training=True)
        for old, new in zip(before, net.non_trainable_variables, strict=True):
            self.assertNotAllClose(old, new, msg=new.name)

    def test_views_of_two_sizes_and_any_channels_share_the_variables(self):
        net = resnet.ResNet(18, width=0.125, stem="cifar")
        self.assertEqual(net(_random((2, 16, 12, 4))).shape, (2, 64))
        count = len(net.variables)
        self.assertEqual(net(_random((2, 8, 8, 4))).shape, (2, 64))
        self.assertLen(net.variables, count)

    def test_names_do_not_depend_on_where_the_network_is_built(self):
        images = _random((2, 8, 8, 3))
        nets = [resnet.ResNet(18, width=0.125, stem="cifar", name="net") for _ in range(2)]
        nets[0](images)
        tf.function(lambda x: (nets[1](x, training=True), nets[1](x[:, :6])))(images)
        names = [variable.name for variable in nets[0].variables]
        self.assertEqual([variable.name for variable in nets[1].variables], names)
        self.assertLen(set(names), len(names))
        self.assertContainsSubset(
            {
                "net/initial_conv/kernel:0",
                "net/initial_norm/moving_variance:0",
                "net/block_group_0/block_1/conv_0/kernel:0",
                "net/block_group_3/block_0/shortcut_norm/gamma:0",
            },
            names,
        )

    def test_features_are_float32_under_bfloat16(self):
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        net = resnet.ResNet(50, width=0.125, stem="cifar", selective=True)
        self.assertEqual(net(_random((2, 8, 8, 3)), training=True).dtype, tf.float32)
        self.assertEqual({variable.dtype for variable in net.variables}, {tf.float32})

    @parameterized.parameters(
        ({"depth": 20}, "depth=20"),
        ({"depth": 18, "version": 3}, "version=3"),
        ({"depth": 18, "width": 0}, "width=0"),
        ({"depth": 18, "stem": "mnist"}, "stem='mnist'"),
        ({"depth": 18, "norm": "layer"}, "kind='layer'"),
        ({"depth": 18, "selective": True}, "version=1, depth=18"),
        ({"depth": 50, "version": 2, "selective": True}, "version=2, depth=50"),
    )
    def test_wrong_arguments_are_refused(self, arguments, message):
        with self.assertRaisesRegex(ValueError, f"Received: {message}"):
            resnet.ResNet(**arguments)


if __name__ == "__main__":
    tf.test.main()
