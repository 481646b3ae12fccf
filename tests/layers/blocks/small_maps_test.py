"""Tests of semppl.layers.blocks.small_maps."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.blocks import small_maps
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)


def kernel_gradient(inputs, upstream, height, width):
    """Sums, loop by loop, what each of the kernel's numbers contributes; zeros beyond the border."""
    batch, rows, columns, channels = inputs.shape
    result = np.zeros((height, width, channels, upstream.shape[-1]))
    for i in range(height):
        for j in range(width):
            for b in range(batch):
                for y in range(rows):
                    for x in range(columns):
                        row, column = y + i - height // 2, x + j - width // 2
                        if 0 <= row < rows and 0 <= column < columns:
                            result[i, j] += np.outer(inputs[b, row, column], upstream[b, y, x])
    return result


class ConvolveSmallMapsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((3, 3, 4, 4), (3, 3, 1, 2), (1, 1, 3, 3), (5, 3, 2, 4))
    def test_the_kernel_s_gradient_is_the_sum_over_places(self, height, width, rows, columns):
        random = np.random.default_rng(0)
        inputs, upstream = random.normal(size=(3, rows, columns, 2)), random.normal(size=(3, rows, columns, 5))
        kernel = tf.Variable(random.normal(size=(height, width, 2, 5)))
        with tf.GradientTape() as tape:
            outputs = small_maps.convolve_small_maps(tf.constant(inputs), kernel)
        gradient = tape.gradient(outputs, kernel, tf.constant(upstream))
        self.assertAllClose(gradient, kernel_gradient(inputs, upstream, height, width), rtol=1e-9, atol=1e-9)

    @parameterized.parameters(False, True)
    def test_outputs_and_gradients_are_those_of_the_plain_convolution(self, jit_compile):
        inputs = tf.random.stateless_normal([8, 4, 4, 16], [0, 0])
        kernel = tf.random.stateless_normal([3, 3, 16, 24], [0, 1])

        def all_of(convolve):
            @tf.function(jit_compile=jit_compile)
            def compute():
                with tf.GradientTape() as tape:
                    tape.watch([inputs, kernel])
                    outputs = convolve(inputs, kernel)
                    loss = tf.reduce_sum(tf.square(outputs))
                return outputs, *tape.gradient(loss, [inputs, kernel])

            return compute()

        plain = all_of(lambda inputs, kernel: tf.nn.conv2d(inputs, kernel, 1, "SAME"))
        for ours, expected in zip(all_of(small_maps.convolve_small_maps), plain, strict=True):
            self.assertAllClose(ours, expected, rtol=1e-4, atol=1e-2)


class ConvolutionTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ({}, (4, 4), "mixed_bfloat16", True),
        ({}, (4, 4), "float32", False),
        ({}, (5, 4), "mixed_bfloat16", False),
        ({"strides": 2}, (4, 4), "mixed_bfloat16", False),
        ({"padding": "valid"}, (4, 4), "mixed_bfloat16", False),
        ({"dilation_rate": 2}, (4, 4), "mixed_bfloat16", False),
        ({"groups": 2}, (4, 4), "mixed_bfloat16", False),
        ({"kernel_size": 2}, (4, 4), "mixed_bfloat16", False),
    )
    def test_only_small_maps_in_bfloat16_go_the_other_way(self, settings, sides, policy, expected):
        layer = small_maps.Convolution(**({"filters": 4, "kernel_size": 3, "padding": "same"} | settings), dtype=policy)
        inputs = tf.cast(tf.random.stateless_normal([2, *sides, 4], [0, 0]), layer.compute_dtype)
        with tf.GradientTape() as tape:
            outputs = tf.reduce_sum(tf.cast(layer(inputs), tf.float32))
        graph = tf.function(lambda: layer(inputs)).get_concrete_function().graph
        self.assertEqual("IdentityN" in {operation.type for operation in graph.get_operations()}, expected)
        self.assertEqual(tape.gradient(outputs, layer.kernel).shape, layer.kernel.shape)

    @parameterized.parameters("TPU", "GPU")
    def test_accelerators_and_layers_that_are_not_trained_convolve_plainly(self, kind):
        layer = small_maps.Convolution(4, 3, padding="same", dtype="mixed_bfloat16")
        inputs = tf.ones([2, 4, 4, 4], tf.bfloat16)
        layer(inputs)

        def operations():
            graph = tf.function(lambda: layer(inputs)).get_concrete_function().graph
            return {operation.type for operation in graph.get_operations()}

        self.assertIn("IdentityN", operations())
        devices = [tf.config.LogicalDevice("/device:CPU:0", "CPU"), tf.config.LogicalDevice(f"/device:{kind}:0", kind)]
        with mock.patch.object(tf.config, "list_logical_devices", return_value=devices):
            self.assertNotIn("IdentityN", operations())
        layer.trainable = False
        self.assertNotIn("IdentityN", operations())

    def test_a_bfloat16_gradient_is_that_of_float64_to_a_rounding(self):
        layer = small_maps.Convolution(
            32, 3, padding="same", dtype="mixed_bfloat16", kernel_initializer=tf.keras.initializers.Orthogonal(seed=0)
        )
        inputs = tf.cast(tf.random.stateless_normal([16, 4, 4, 8], [0, 0]), tf.bfloat16)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(tf.cast(layer(inputs), tf.float32)))
        gradient = tape.gradient(loss, layer.kernel)
        exact, kernel = (tf.cast(tf.cast(x, tf.bfloat16), tf.float64) for x in (inputs, layer.kernel))
        upstream = 2 * tf.nn.conv2d(exact, kernel, 1, "SAME")
        expected = kernel_gradient(exact.numpy(), upstream.numpy(), 3, 3)
        # bfloat16 has steps of 2⁻⁸; Keras' own gradient adds up in bfloat16 on processors without AVX-512, and errs by 2⁻⁵.
        self.assertAllClose(gradient, expected, rtol=0, atol=2**-7 * np.abs(expected).max())
        self.assertNotAllClose(gradient, expected, rtol=0, atol=2**-14 * np.abs(expected).max())


if __name__ == "__main__":
    tf.test.main()
