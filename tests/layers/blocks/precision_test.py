"""Tests of semppl.layers.blocks.precision: what is rounded to bfloat16, and what never is."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.blocks.precision import at_least_float32, computing_in
from semppl.layers.encoders.selective_kernel import SelectiveKernel
from semppl.layers.networks import OnlineNetwork, PixelNormalisation, unit_norm

_NETWORK = {
    "encoder": "convnet",
    "width": 0.25,
    "norm": "batch",
    "head_width": 32,
    "embedding_width": 16,
    "pixel_mean": (0.5,),
    "pixel_stddev": (0.25,),
}


def _network(precision):
    tf.keras.utils.set_random_seed(0)
    with computing_in(precision):
        network = OnlineNetwork(**_NETWORK)
        network.build([None, 8, 8, 1])
    return network


class ComputingInTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_block_alone_is_concerned(self):
        with computing_in("bfloat16"):
            inside = tf.keras.layers.Dense(1)
        outside = tf.keras.layers.Dense(1)
        self.assertEqual((inside.compute_dtype, inside.variable_dtype), ("bfloat16", "float32"))
        self.assertEqual((outside.compute_dtype, outside.variable_dtype), ("float32", "float32"))

    def test_an_error_in_the_block_does_not_change_what_comes_after(self):
        with self.assertRaises(KeyError), computing_in("bfloat16"):
            raise KeyError
        self.assertEqual(tf.keras.mixed_precision.global_policy().name, "float32")

    def test_float32_leaves_it_to_keras(self):
        self.addCleanup(tf.keras.mixed_precision.set_global_policy, "float32")
        tf.keras.mixed_precision.set_global_policy("float64")
        with computing_in("float32"):
            self.assertEqual(tf.keras.layers.Dense(1).compute_dtype, "float64")

    def test_an_unknown_precision_is_answered_with_what_there_is(self):
        with self.assertRaises(ValueError) as caught, computing_in("float16"):
            self.fail("entered")
        expected = "`precision` must be one of float32, bfloat16. Received: precision='float16'"
        self.assertEqual(str(caught.exception), expected)

    @parameterized.parameters(("bfloat16", "float32"), ("float16", "float32"), ("float32",) * 2, ("float64",) * 2)
    def test_only_coarse_numbers_are_cast(self, dtype, expected):
        self.assertEqual(at_least_float32(tf.ones([2], dtype)).dtype, expected)


class NetworkTest(tf.test.TestCase, parameterized.TestCase):
    def test_convolutions_and_products_are_bfloat16_and_every_variable_float32(self):
        network = _network("bfloat16")
        layers = [*network.encoder.convolutions, network.projector.hidden, network.predictor.outputs]
        self.assertEqual({layer.compute_dtype for layer in layers}, {"bfloat16"})
        self.assertEqual({variable.dtype for variable in network.variables}, {tf.float32})

    def test_pixels_are_centred_before_they_are_rounded(self):
        # 0.501 and 0.502 are one number in bfloat16, whose steps there are 1/256; their distances from 0.5 are two.
        with computing_in("bfloat16"):
            pixels = PixelNormalisation((0.5,), (0.25,))
        outputs = pixels(tf.constant([0.501, 0.502], tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis])
        self.assertEqual(outputs.dtype, tf.float32)
        self.assertAllClose(tf.squeeze(outputs), [0.004, 0.008], rtol=1e-4, atol=0)

    def test_a_network_does_not_round_the_images_that_it_is_given(self):
        network, images = _network("bfloat16"), tf.constant([0.501, 0.502] * 32, tf.float32)
        seen = []
        network.pixels.call = lambda images: seen.append(images) or images
        network(tf.reshape(images, [1, 8, 8, 1]))
        self.assertAllEqual(tf.reshape(seen[0], [-1]), images)

    @parameterized.parameters(False, True)
    def test_embeddings_leave_it_in_float32_and_agree(self, training):
        images = np.random.default_rng(0).uniform(size=(32, 8, 8, 1)).astype(np.float32)
        coarse, exact = _network("bfloat16"), _network("float32")
        for name in ("features", "project", "call"):
            rounded, expected = getattr(coarse, name)(images, training), getattr(exact, name)(images, training)
            self.assertEqual(rounded.dtype, tf.float32)
            # bfloat16 has eight bits: 0.4 % an operation, and six of them in a row.
            self.assertLess(tf.norm(rounded - expected) / tf.norm(expected), 0.03)
            self.assertNotAllEqual(rounded, expected)
        for average, expected in zip(coarse.non_trainable_variables, exact.non_trainable_variables, strict=True):
            self.assertAllClose(average, expected, rtol=0.02, atol=0.02)

    def test_batch_statistics_are_added_up_in_float32(self):
        # 4096 ones and a mean of one: in bfloat16 the sum would stop at 256.
        network = _network("bfloat16")
        norm = network.encoder.norms[0]
        norm(tf.ones([64, 8, 8, norm.gamma.shape[0]], tf.bfloat16), training=True)
        self.assertAllClose(norm.moving_mean, 0.1 * np.ones(norm.gamma.shape), rtol=1e-6)

    def test_norms_are_taken_in_float32(self):
        # 1 + 512·(1/16)² = 3: in bfloat16 every addition of 1/256 to 1 would be lost.
        embedding = tf.constant([[1.0] + [1 / 16] * 512], tf.bfloat16)
        self.assertAllClose(unit_norm(embedding)[0, 0], 1 / np.sqrt(3), rtol=1e-6)

    def test_a_selective_kernel_weighs_its_streams_in_float32(self):
        with computing_in("bfloat16"):
            layer = SelectiveKernel()
            layer.build([None, 4, 4, 8])
        outputs = layer(tf.cast(np.random.default_rng(0).normal(size=(2, 4, 4, 8)), tf.bfloat16))
        self.assertEqual(outputs.dtype, tf.bfloat16)


if __name__ == "__main__":
    tf.test.main()
