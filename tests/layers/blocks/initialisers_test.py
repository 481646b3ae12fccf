"""Tests of semppl.layers.blocks.initialisers."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.blocks.initialisers import fan_in_normal
from semppl.layers.encoders.registry import build_encoder
from semppl.layers.heads import MLP


class FanInNormalTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(((400, 500),), ((3, 3, 64, 300),))
    def test_weights_are_normal_with_one_over_the_root_of_fan_in_cut_at_two_of_them(self, shape):
        tf.keras.utils.set_random_seed(0)
        weights = fan_in_normal()(shape).numpy().ravel() * math.sqrt(np.prod(shape[:-1]))
        self.assertLessEqual(np.abs(weights).max(), 2.0 + 1e-6)
        self.assertGreater(np.abs(weights).max(), 1.99)
        # Var of a standard normal cut at ±2: 1 − 2·2·φ(2)/(2Φ(2) − 1) = 0.7737.
        density, inside = math.exp(-2) / math.sqrt(2 * math.pi), math.erf(math.sqrt(2))
        self.assertAllClose(np.var(weights), 1 - 4 * density / inside, rtol=0.01)
        self.assertAllClose(np.mean(weights), 0.0, atol=0.01)

    def test_encoders_and_heads_begin_so(self):
        tf.keras.utils.set_random_seed(0)
        encoder, head = build_encoder("resnet18"), MLP(256, 64)
        head(encoder(tf.zeros([1, 32, 32, 3])))
        kernels = [v for v in [*encoder.trainable_variables, *head.trainable_variables] if "kernel" in v.name]
        self.assertLen(kernels, 21 + 2)  # 1 + 16 + 4 convolutions, 2 linear maps
        for kernel in kernels:
            scaled = kernel.numpy() * math.sqrt(np.prod(kernel.shape[:-1]))
            self.assertAllInRange([np.std(scaled)], 0.85, 0.91)


if __name__ == "__main__":
    tf.test.main()
