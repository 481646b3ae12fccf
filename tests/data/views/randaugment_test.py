"""Tests of semppl.data.views.randaugment and its operations, against Pillow."""

import math
import unittest
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from semppl.data.views import geometry, randaugment, tones
from semppl.tests import testing
from semppl.tests.data import modes

_SIZE = 24


def _pixels():
    """Levels that do not use the whole range, the dark ones more often."""
    return np.uint8(40 + 150 * np.random.default_rng(0).uniform(size=(_SIZE, _SIZE, 3)) ** 2)


def _seeds(count, first=0):
    return tf.stack([tf.fill([count], 3), first + tf.range(count)], axis=1)


def _images(count, channels=3, size=12):
    return tf.constant(np.random.default_rng(0).uniform(0, 1, (count, size, size, channels)), tf.float32)


def _by_pillow(name, magnitude):
    """One operation with a magnitude in 0..1, as USB's code calls Pillow."""
    picture, move = Image.fromarray(_pixels()), 2 * magnitude - 1
    factor = 0.05 + 0.9 * magnitude

    def moved(*matrix):
        return picture.transform(picture.size, Image.Transform.AFFINE, matrix)

    results = {
        "identity": lambda: picture,
        "autocontrast": lambda: ImageOps.autocontrast(picture),
        "brightness": lambda: ImageEnhance.Brightness(picture).enhance(factor),
        "color": lambda: ImageEnhance.Color(picture).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(picture).enhance(factor),
        "equalize": lambda: ImageOps.equalize(picture),
        "posterize": lambda: ImageOps.posterize(picture, int(4 + 4 * magnitude)),
        "rotate": lambda: picture.rotate(30 * move),
        "sharpness": lambda: ImageEnhance.Sharpness(picture).enhance(factor),
        "shear_x": lambda: moved(1, 0.3 * move, 0, 0, 1, 0),
        "shear_y": lambda: moved(1, 0, 0, 0.3 * move, 1, 0),
        "solarize": lambda: ImageOps.solarize(picture, 256 * magnitude),
        "translate_x": lambda: moved(1, 0, 0.3 * move * _SIZE, 0, 1, 0),
        "translate_y": lambda: moved(1, 0, 0, 0, 1, 0.3 * move * _SIZE),
    }
    return np.asarray(results[name]()).astype(np.float64)


class OperationsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*randaugment.OPERATIONS)
    def test_each_is_that_of_pillow(self, name):
        magnitudes = [0.999, 0.21, 0.63, 0.77, 0.03]
        images = tf.constant(np.stack([_pixels()] * 5) / 255, tf.float32)
        operations = tf.fill([5], randaugment.OPERATIONS.index(name))
        results = randaugment.operate(images, operations, tf.constant(magnitudes))
        for magnitude, result in zip(magnitudes, results, strict=True):
            expected = _by_pillow(name, magnitude)
            # Blends are rounded once or twice in 8 bits; levels and moved pixels are exact.
            bound = 1.6 if name in randaugment.BLENDS else 1.0 if name == "autocontrast" else 1e-4
            self.assertAllClose(255 * result, expected, rtol=0, atol=bound, msg=f"{magnitude}")
        self.assertEqual(np.abs(expected - _pixels()).max() > 2, name != "identity")

    def test_they_are_the_fourteen_of_fixmatch_each_once(self):
        self.assertLen(set(randaugment.OPERATIONS), 14)
        self.assertLen(randaugment.OPERATIONS, 14)

    def test_an_image_of_one_level_stays_as_it_is_under_autocontrast_and_equalize(self):
        flat = tf.fill([1, 20, 20, 3], 0.3)
        self.assertAllEqual(tones.autocontrast(flat), flat)
        self.assertAllEqual(tones.equalize(flat), flat)

    def test_equalize_takes_each_channel_of_each_image_by_itself(self):
        pixels = np.stack([_pixels(), 255 - _pixels() // 3])
        expected = [[np.asarray(ImageOps.equalize(Image.fromarray(plane))) for plane in image.T] for image in pixels]
        result = tones.equalize(tf.constant(pixels / 255, tf.float32))
        self.assertAllClose(255 * result, np.transpose(expected, [0, 3, 2, 1]), rtol=0, atol=1e-4)

    @parameterized.parameters(1, 5)
    def test_without_colour_color_does_nothing_and_contrast_changes_each_channel(self, channels):
        images = _images(2, channels)
        color, contrast = (
            randaugment.operate(images, tf.fill([2], randaugment.OPERATIONS.index(name)), tf.fill([2], 0.5))
            for name in ("color", "contrast")
        )
        self.assertAllClose(color, images, rtol=0, atol=1e-6)
        means = np.round(255 * images.numpy().mean((1, 2), keepdims=True)) / 255
        self.assertAllClose(contrast, 0.5 * images + 0.5 * means, rtol=0, atol=1e-6)

    @unittest.skipUnless(testing.HAS_ADDONS, "needs tensorflow-addons")
    def test_they_are_those_of_tensorflow_addons(self):
        # The operations here take its place on TensorFlow 2.16 and later, and under XLA.
        import tensorflow_addons as tfa  # Replaced by data/views/tones.py and geometry.affine_nearest.

        pixels = tf.constant(np.stack([_pixels()] * 2))
        images = tf.cast(pixels, tf.float32) / 255
        self.assertAllClose(255 * tones.equalize(images), tfa.image.equalize(pixels), rtol=0, atol=1e-4)
        sharp = tones.blend(tones.smooth(images), images, tf.fill([2], 0.4))
        self.assertAllClose(255 * sharp, tfa.image.sharpness(pixels, 0.4), rtol=0, atol=1.6)
        black = tf.zeros_like(images)
        dark = tones.blend(black, images, tf.fill([2], 0.4))
        self.assertAllClose(255 * dark, tfa.image.blend(tf.zeros_like(pixels), pixels, 0.4), rtol=0, atol=1.0)
        turns = tf.constant([0.7, -0.2])
        matrices = randaugment.move_matrices(tf.fill([2], randaugment.OPERATIONS.index("rotate")), turns)
        turned = geometry.affine_nearest(images, matrices)
        self.assertAllClose(turned, tfa.image.rotate(images, math.radians(30) * turns), rtol=0, atol=1e-6)
        matrices = randaugment.move_matrices(tf.fill([2], randaugment.OPERATIONS.index("translate_x")), turns)
        moved = tfa.image.translate(images, tf.stack([-0.3 * _SIZE * turns, [0.0, 0.0]], axis=1))
        self.assertAllClose(geometry.affine_nearest(images, matrices), moved, rtol=0, atol=1e-6)


class CutoutTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((0.5, 0.5, 0.5), (0.3, 0.01, 0.99), (0.02, 0.4, 0.9), (0.41, 0.96, 0.3), (0.0, 0.5, 0.5))
    def test_it_is_the_rectangle_of_pillow(self, share, row, column):
        picture = Image.fromarray(_pixels())
        side = share * _SIZE
        if side > 0:
            left, top = (int(max(0, _SIZE * centre - side / 2)) for centre in (column, row))
            corner = min(_SIZE, left + side), min(_SIZE, top + side)
            ImageDraw.Draw(picture).rectangle((left, top, *corner), (125, 123, 114))
        images = tf.constant(_pixels()[np.newaxis] / 255, tf.float32)
        result = randaugment.cutout(images, tf.constant([share]), tf.constant([[row, column]]))
        self.assertAllClose(255 * result[0], np.asarray(picture), rtol=0, atol=1e-4)

    def test_images_without_colour_are_filled_with_grey(self):
        result = randaugment.cutout(tf.zeros([1, 8, 8, 2]), tf.constant([0.5]), tf.constant([[0.5, 0.5]]))
        self.assertAllEqual(result[0, 3:5, 3:5], tf.fill([2, 2, 2], 0.5))
        self.assertAllEqual(result[0, 0], tf.zeros([8, 2]))


class AugmentTest(tf.test.TestCase, parameterized.TestCase):
    def _operations(self, count):
        """The operations, `[3, N]`, and their magnitudes."""
        with mock.patch.object(randaugment, "operate", side_effect=lambda images, *_: images) as operate:
            randaugment.augment(_images(count, size=2), _seeds(count), tf.ones([count], tf.bool))
        return [np.stack([call.args[part] for call in operate.call_args_list]) for part in (1, 2)]

    def test_three_operations_of_fourteen_are_drawn_uniformly_and_independently(self):
        operations, magnitudes = self._operations(2800)
        self.assertEqual(operations.shape, (3, 2800))
        for drawn in operations:
            self.assertAllInRange(np.bincount(drawn, minlength=14), 200 - 58, 200 + 58)  # 4.3 standard deviations
        both = np.concatenate([operations, magnitudes])
        self.assertLess(np.abs(np.corrcoef(both) - np.eye(6)).max(), 4 / math.sqrt(2800))
        self.assertAllInRange(magnitudes, 0, 1)
        self.assertAllClose(np.quantile(magnitudes, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], rtol=0, atol=0.02)

    def test_squares_have_sides_up_to_half_the_image_and_lie_anywhere(self):
        with mock.patch.object(randaugment, "cutout", side_effect=lambda images, *_: images) as cutout:
            randaugment.augment(_images(1500, size=2), _seeds(1500), tf.ones([1500], tf.bool))
        _, sides, centres = cutout.call_args.args
        self.assertAllClose(np.quantile(sides, [0, 0.5, 1]), [0, 0.25, 0.5], rtol=0, atol=0.02)
        for centre in centres.numpy().T:
            self.assertAllClose(np.quantile(centre, [0, 0.5, 1]), [0, 0.5, 1], rtol=0, atol=0.04)

    def test_the_operations_come_one_after_another_and_the_square_last(self):
        images, seeds = _images(6), _seeds(6)
        calls = mock.Mock()
        operate, cutout = randaugment.operate, randaugment.cutout
        with mock.patch.multiple(randaugment, operate=calls.operate, cutout=calls.cutout):
            calls.operate.side_effect, calls.cutout.side_effect = operate, cutout
            result = randaugment.augment(images, seeds, tf.ones([6], tf.bool))
        self.assertEqual([call[0] for call in calls.mock_calls], ["operate"] * 3 + ["cutout"])
        expected = images
        for call in calls.operate.call_args_list:
            self.assertAllEqual(call.args[0], expected)
            expected = operate(expected, *call.args[1:])
        self.assertAllEqual(result, cutout(expected, *calls.cutout.call_args.args[1:]))

    def test_only_the_chosen_images_are_changed(self):
        images, chosen = _images(20), tf.range(20) % 2 == 1
        result = randaugment.augment(images, _seeds(20), chosen)
        changed = np.abs(result - images).max((1, 2, 3)) > 1e-3
        self.assertFalse(changed[::2].any())
        self.assertGreater(changed[1::2].mean(), 0.8)
        self.assertAllEqual(result[::2], images[::2])

    @parameterized.named_parameters(*modes.ALL)
    def test_it_is_the_same_wherever_it_runs(self, run):
        images, seeds, chosen = _images(40, size=20), _seeds(40), tf.ones([40], tf.bool)
        eager = randaugment.augment(images, seeds, chosen)
        difference = np.abs(run(randaugment.augment, images, seeds, chosen) - eager)
        # A level or a pixel may be rounded the other way.
        self.assertLess((difference > 1e-5).mean(), 1e-3)


if __name__ == "__main__":
    tf.test.main()
