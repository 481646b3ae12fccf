"""Tests of semppl.layers.inputs.preparation."""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from semppl.layers.inputs import preparation


def _images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def _cubic(distance):
    """Keys' kernel with a = −0.5."""
    x = abs(distance)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def _resize(line, size):
    """Resizes one line of pixels, pixel centres at halves; weights beyond the border are left out."""
    resized = []
    for place in range(size):
        centre = (place + 0.5) * len(line) / size - 0.5
        weights = [_cubic(pixel - centre) for pixel in range(len(line))]
        resized.append(np.dot(weights, line) / sum(weights))
    return np.array(resized)


class PrepareTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(5, 8, 13)
    def test_the_whole_image_is_resized_by_cubic_interpolation(self, size):
        images = _images(2, 9, 7, 1)
        expected = np.apply_along_axis(_resize, 1, images, size)
        expected = np.clip(np.apply_along_axis(_resize, 2, expected, size), 0, 1)
        prepared = preparation.prepare(images, size=size, crop=1.0)
        self.assertAllClose(prepared, expected, rtol=0, atol=2e-3)  # the operation reads its kernel from a table

    def test_an_image_of_the_right_size_is_left_alone(self):
        images = _images(2, 8, 8, 3)
        self.assertAllClose(preparation.prepare(images, size=8, crop=1.0), images, rtol=0, atol=1e-6)

    def test_bytes_become_numbers_from_zero_to_one(self):
        images = np.array([0, 1, 128, 255], np.uint8).reshape(1, 2, 2, 1)
        prepared = preparation.prepare(images, size=2, crop=1.0)
        self.assertEqual(prepared.dtype, tf.float32)
        self.assertAllClose(prepared, images / 255, rtol=0, atol=1e-6)

    @parameterized.parameters((8, 8), (8, 7), (7, 8), (9, 9))
    def test_bytes_of_unknown_size_are_as_if_resized_whether_they_have_the_size_or_not(self, height, width):
        images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
        spec = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
        prepared = tf.function(functools.partial(preparation.prepare, size=8, crop=1.0), input_signature=spec)
        resized = tf.raw_ops.ResizeBicubic(images=images, size=[8, 8], half_pixel_centers=True)
        # In a graph a division by a constant becomes a product: one in the last place.
        self.assertAllClose(prepared(images), tf.clip_by_value(resized / 255, 0, 1), rtol=0, atol=1.2e-7)

    def test_an_overshoot_is_cut_off(self):
        # Cubic interpolation swings over the edge between black and white.
        edge = np.zeros((1, 8, 8, 1), np.float32)
        edge[:, :, 4:] = 1
        overshot = tf.image.resize(edge, [21, 21], "bicubic")
        self.assertGreater(np.max(overshot), 1.01)
        self.assertLess(np.min(overshot), -0.01)
        prepared = preparation.prepare(edge, size=21, crop=1.0)
        self.assertEqual((np.min(prepared), np.max(prepared)), (0.0, 1.0))

    @parameterized.parameters(
        (256, 256, 224, 16, 16), (256, 300, 224, 16, 38), (32, 32, 28, 2, 2), (9, 16, 7, 1, 5), (15, 14, 12, 2, 1)
    )
    def test_the_centre_is_seven_eighths_of_the_shorter_side(self, height, width, side, top, left):
        # In the official evaluation's rounding: the side down, the margin before the crop up.
        images = _images(1, height, width, 2)
        prepared = preparation.prepare(images, size=side, crop=7 / 8)
        self.assertAllClose(prepared, images[:, top : top + side, left : left + side], rtol=0, atol=1e-6)

    def test_the_centre_of_a_single_pixel_is_the_pixel(self):
        prepared = preparation.prepare(np.full((1, 1, 1, 3), 0.25, np.float32), size=2, crop=7 / 8)
        self.assertAllClose(prepared, np.full((1, 2, 2, 3), 0.25), rtol=1e-6, atol=0)

    def test_a_batch_of_unknown_size_gets_a_static_size(self):
        compiled = tf.function(
            lambda images: preparation.prepare(images, size=8, crop=0.5),
            input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
        )
        self.assertEqual(compiled.get_concrete_function().output_shapes, [None, 8, 8, 3])
        self.assertEqual(compiled(np.zeros((2, 20, 30, 3), np.uint8)).shape, [2, 8, 8, 3])


class ShrinkTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((90, 120, 40), (533, 400, 128), (61, 60, 59))
    def test_images_are_shrunk_as_the_datas_reader_shrinks_them(self, height, width, side):
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        scale = side / min(height, width)
        small = Image.fromarray(noise).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
        ours = preparation.prepare(noise[np.newaxis], size=24, crop=7 / 8, shrink=side)
        theirs = preparation.prepare(np.asarray(small)[np.newaxis], size=24, crop=7 / 8)
        self.assertAllEqual(ours, theirs)
        as_floats = preparation.prepare(noise[np.newaxis] / np.float32(255), size=24, crop=7 / 8, shrink=side)
        self.assertAllClose(as_floats, theirs, rtol=0, atol=1e-6)
        in_16_bits = preparation.prepare(noise[np.newaxis].astype(np.uint16) * 257, size=24, crop=7 / 8, shrink=side)
        self.assertAllClose(in_16_bits, theirs, rtol=0, atol=1e-6)

    def test_small_images_stay_as_they_are(self):
        images = _images(2, 20, 30, 3)
        unshrunk = preparation.prepare(images, size=16, crop=1.0, shrink=20)
        self.assertAllEqual(unshrunk, preparation.prepare(images, size=16, crop=1.0))


class FingerprintsTest(tf.test.TestCase):
    def test_copies_have_one_and_other_pictures_others(self):
        image = np.random.default_rng(0).integers(0, 256, (1, 6, 4, 3), np.uint8)
        other = image.copy()
        other[0, 5, 3, 2] ^= 1
        pictures = (image, other, image.reshape(1, 4, 6, 3), image[:, ::-1])
        prints = [preparation.fingerprints(picture).numpy().item() for picture in pictures]
        self.assertLen(set(prints), 4)
        self.assertAllEqual(preparation.fingerprints(np.concatenate([image, other])), prints[:2])
        for copy in (image / np.float32(255), image.astype(np.uint16) * 257):
            self.assertAllEqual(preparation.fingerprints(copy), prints[:1])

    def test_they_are_of_what_is_left_after_shrinking(self):
        image = np.random.default_rng(0).integers(0, 256, (1, 30, 40, 3), np.uint8)
        small = np.asarray(Image.fromarray(image[0]).resize((16, 12), Image.Resampling.BICUBIC))[np.newaxis]
        self.assertAllEqual(preparation.fingerprints(image, shrink=12), preparation.fingerprints(small))
        self.assertNotAllEqual(preparation.fingerprints(image), preparation.fingerprints(small))


class InferencePreparationTest(tf.test.TestCase):
    def test_it_prepares_with_the_settings_of_a_run(self):
        images = _images(1, 32, 40, 3)
        prepared = preparation.inference_preparation(24, centre_crop=7 / 8, shrink=28)(images)
        self.assertAllEqual(prepared, preparation.prepare(images, size=24, crop=7 / 8, shrink=28))


if __name__ == "__main__":
    tf.test.main()
