"""Tests of semppl.layers.inputs.resampling."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from semppl.layers.inputs import resampling
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)

_SHRINK = tf.function(
    resampling.shrink,
    input_signature=[tf.TensorSpec([None] * 4, tf.uint8), tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32)],
)


class ShrinkTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(channels=[1, 3], kind=["noise", "black and white"])
    def test_every_byte_is_that_of_pillow(self, channels, kind):
        rng = np.random.default_rng(channels)
        for _ in range(25):
            height, width = rng.integers(2, 200, 2)
            smaller = int(rng.integers(1, height)), int(rng.integers(1, width))
            images = rng.integers(0, 256, (2, height, width, channels), np.uint8)
            if kind == "black and white":  # overshoots
                images = np.where(images > 127, np.uint8(255), np.uint8(0))
            expected = [
                np.asarray(Image.fromarray(image.squeeze(-1) if channels == 1 else image).resize(smaller[::-1], 3))
                for image in images
            ]
            self.assertAllEqual(_SHRINK(images, *smaller), np.reshape(expected, (2, *smaller, channels)))

    def test_sums_stay_exact_where_hundreds_of_pixels_become_one(self):
        image = np.random.default_rng(0).integers(0, 256, (3, 5000, 1), np.uint8)
        expected = np.asarray(Image.fromarray(image[..., 0]).resize((20, 2), 3))
        self.assertAllEqual(_SHRINK(image[np.newaxis], 2, 20)[0, ..., 0], expected)


class ResizeTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((9, 7, 5), (9, 7, 8), (9, 7, 23), (1, 1, 4), (2, 30, 3), (40, 33, 1), (16, 16, 16))
    def test_it_is_the_kernel_of_tensorflow(self, height, width, size):
        images = np.random.default_rng(0).uniform(0, 1, (2, height, width, 3)).astype(np.float32)
        expected = tf.raw_ops.ResizeBicubic(images=images, size=[size, size], half_pixel_centers=True)
        self.assertAllClose(resampling.resize(images, size), expected, rtol=0, atol=1e-6)


if __name__ == "__main__":
    tf.test.main()
