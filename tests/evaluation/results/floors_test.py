"""Tests of semppl.evaluation.results.floors."""

import numpy as np
import tensorflow as tf

from semppl.evaluation.results import floors
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)


class FloorsTest(tf.test.TestCase):
    def test_colours_are_counted_in_plain_loops(self):
        images = np.random.default_rng(0).uniform(size=(3, 5, 4, 3)).astype(np.float32)
        images[0, 0, 0] = 1  # white is in the last of the colours
        expected = np.zeros((3, 64))
        for number, image in enumerate(images):
            for pixel in image.reshape(-1, 3):
                red, green, blue = (min(int(value * 4), 3) for value in pixel)
                expected[number, 16 * red + 4 * green + blue] += 1 / 20
        self.assertAllClose(floors.colour_histograms(tf.constant(images)), np.sqrt(expected))

    def test_levels_of_other_channels_are_counted_each_by_itself(self):
        images = np.random.default_rng(0).uniform(size=(2, 3, 6, 2)).astype(np.float32)
        expected = np.zeros((2, 2, 16))
        for number, image in enumerate(images):
            for pixel in image.reshape(-1, 2):
                for channel, value in enumerate(pixel):
                    expected[number, channel, int(value * 16)] += 1 / 18
        self.assertAllClose(floors.colour_histograms(tf.constant(images)), np.sqrt(expected).reshape(2, 32))

    def test_pixels_are_those_of_the_view_averaged_where_it_is_large(self):
        images = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype(np.float32)
        expected = images.reshape(2, 32, 2, 32, 2, 3).mean((2, 4)).reshape(2, -1)
        self.assertAllClose(floors.small_pixels(tf.constant(images)), expected, atol=1e-6)
        self.assertAllEqual(floors.small_pixels(tf.constant(images[:, :32, :32])), images[:, :32, :32].reshape(2, -1))

    def test_the_majority_is_the_most_frequent_class_and_the_smaller_one_in_a_tie(self):
        self.assertEqual(floors.majority_classes(np.array([4, 2, 4, 2, 9])).tolist(), [2] * 5)
        self.assertEqual(floors.majority_classes(np.array([4, 2, 4])).tolist(), [4] * 3)


if __name__ == "__main__":
    tf.test.main()
