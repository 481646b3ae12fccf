"""Tests of semppl.export.model.inference_network."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.model.inference_network import Int8Kernels, fold_batch_norms, in_half
from semppl.layers.blocks.normalisation import BatchNorm
from semppl.layers.networks import OnlineNetwork
from semppl.tests import testing, tiny  # noqa: F401  (before TensorFlow runs anything)


def _trained(**changes):
    """A network whose batch norms are far from the identity."""
    settings = Hyperparameters(**tiny.settings(large_size=9, **changes))
    tf.keras.utils.set_random_seed(1)
    network = OnlineNetwork(**settings.network, name="online")
    network.build([None, 9, 9, 1])
    rng = np.random.default_rng(2)
    for layer in network._flatten_layers():
        if isinstance(layer, BatchNorm):
            for variable, least, most in (
                (layer.gamma, 0.5, 1.5),
                (layer.beta, -0.5, 0.5),
                (layer.moving_mean, -0.3, 0.3),
                (layer.moving_variance, 0.5, 2.0),
            ):
                variable.assign(rng.uniform(least, most, variable.shape))
        if isinstance(layer, tf.keras.layers.Dense) and layer.use_bias:
            layer.bias.assign(rng.uniform(-0.5, 0.5, layer.bias.shape))
    return settings, network


def _images():
    return tf.constant(np.random.default_rng(3).uniform(0, 1, (6, 9, 9, 1)), tf.float32)


class FoldTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("convnet", "batch"),
        ("convnet", "group"),
        ("resnet9", "batch"),
        ("resnet18_cifar", "batch"),
        ("resnet18_v2_cifar", "batch"),
        ("resnet50", "batch"),
        ("resnet50_keras", "batch"),
        ("sk_resnet50_cifar_simclr", "batch"),
    )
    def test_a_folded_network_says_the_same(self, encoder, norm):
        settings, network = _trained(encoder=encoder, norm=norm)
        expected = [network.features(_images()), network.project(_images()), network(_images())]
        folded = fold_batch_norms(network, settings)
        answer = [folded.features(_images()), folded.project(_images()), folded(_images())]
        for mine, theirs in zip(answer, expected, strict=True):
            self.assertAllClose(mine, theirs, rtol=1e-3, atol=2e-5 * np.abs(theirs).max())

    @parameterized.parameters(
        ("convnet", 0), ("resnet18_cifar", 0), ("resnet50", 0), ("resnet18_v2_cifar", 9), ("resnet9", 3)
    )
    def test_only_norms_that_follow_a_sum_are_left(self, encoder, left):
        settings, network = _trained(encoder=encoder)
        folded = fold_batch_norms(network, settings)
        norms = [layer for layer in folded._flatten_layers() if isinstance(layer, BatchNorm)]
        self.assertLen([norm for norm in norms if not norm.folded], left)

    def test_nothing_is_folded_twice(self):
        settings, network = _trained()
        folded = fold_batch_norms(network, settings)
        with self.assertRaisesRegex(ValueError, "Received: folded=True, center=True"):
            fold_batch_norms(folded, settings)

    def test_the_network_itself_is_not_changed(self):
        settings, network = _trained()
        before = [weight.numpy() for weight in network.weights]
        folded = fold_batch_norms(network, settings)
        for weight, value in zip(network.weights, before, strict=True):
            self.assertAllEqual(weight, value)
        self.assertEmpty({id(weight) for weight in network.weights} & {id(weight) for weight in folded.weights})
        self.assertFalse(any(getattr(layer, "folded", False) for layer in network._flatten_layers()))


class FewerBitsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(("bfloat16", 2**-6), ("float16", 2**-9))
    def test_half_a_network_says_nearly_the_same(self, dtype, apart):
        settings, network = _trained()
        network = fold_batch_norms(network, settings)
        half = in_half(network, settings, dtype)
        self.assertEqual({w.dtype.name for w in half.weights if "kernel" in w.name}, {dtype})
        self.assertAllClose(half.project(_images()), network.project(_images()), atol=apart)
        self.assertEqual(half.project(_images()).dtype, tf.float32)
        self.assertEqual(tf.keras.mixed_precision.global_policy().name, "float32")

    def test_int8_kernels_are_within_half_a_step_of_each_channel(self):
        network = fold_batch_norms(*reversed(_trained()))
        kernel = network.encoder.convolutions[1].kernel
        exact, expected = kernel.numpy(), network.project(_images())
        int8 = Int8Kernels(network)
        with int8.in_use():
            coarse = network.encoder.convolutions[1].kernel.numpy()
            answer = network.project(_images())
        step = np.abs(exact).max((0, 1, 2)) / 127
        self.assertAllLessEqual(np.abs(coarse - exact) / step, 0.5 + 1e-3)
        self.assertAllClose(np.abs(coarse).max((0, 1, 2)), np.abs(exact).max((0, 1, 2)))
        self.assertAllClose(answer, expected, atol=0.03)
        self.assertNotAllClose(answer, expected, atol=1e-5)
        self.assertIs(network.encoder.convolutions[1].kernel, kernel)
        self.assertNotIn(id(kernel), map(id, int8.weights))
        self.assertEqual([w.dtype for w in int8.weights].count(tf.int8), 7)  # three convolutions, two layers a head


if __name__ == "__main__":
    tf.test.main()
