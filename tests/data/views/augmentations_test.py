"""Tests of semppl.data.views.augmentations."""

import colorsys
import itertools
import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.data.views import augmentations
from semppl.tests import testing
from semppl.tests.data import modes

_OPERATIONS = {
    "brightness": augmentations.adjust_brightness,
    "contrast": augmentations.adjust_contrast,
    "saturation": augmentations.adjust_saturation,
    "hue": augmentations.adjust_hue,
}


def _images(batch, height=5, width=4, channels=3):
    return np.random.default_rng(0).uniform(0, 1, (batch, height, width, channels)).astype(np.float32)


def _strengths(*values):
    return tf.constant(values, tf.float32)


def _golden(name):
    return np.load(testing.golden("image_ops.npz"))[name]


def _in_loops(name, image, strength):
    """One operation on one image, pixel by pixel."""
    result = np.array(image, np.float64)
    means = result.mean(axis=(0, 1))
    for row, column in itertools.product(*map(range, image.shape[:2])):
        pixel = result[row, column].copy()
        if name == "brightness":
            result[row, column] = pixel + strength
        elif name == "contrast":
            result[row, column] = means + strength * (pixel - means)
        else:
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            hue += strength if name == "hue" else 0.0
            saturation = min(1.0, saturation * strength) if name == "saturation" else saturation
            result[row, column] = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return result


def _blur_in_loops(image, sigma, radius):
    weights = np.array([math.exp(-(tap**2) / (2 * sigma**2)) for tap in range(-radius, radius + 1)])
    weights /= weights.sum()
    result = np.zeros(image.shape)
    height, width = image.shape[:2]
    for row, column in itertools.product(range(height), range(width)):
        for down, right in itertools.product(range(-radius, radius + 1), repeat=2):
            if 0 <= row + down < height and 0 <= column + right < width:
                weight = weights[down + radius] * weights[right + radius]
                result[row, column] += weight * image[row + down, column + right]
    return result


class OfficialOperationsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("brightness", "-0.3"),
        ("brightness", "0.2"),
        ("contrast", "0.6"),
        ("contrast", "1.3"),
        ("saturation", "0.8"),
        ("saturation", "1.2"),
        ("hue", "-0.1"),
        ("hue", "0.05"),
    )
    def test_adjustments_are_reproduced(self, name, strength):
        result = _OPERATIONS[name](_golden("image")[np.newaxis], _strengths(float(strength)))
        self.assertAllClose(result[0], _golden(f"{name}_{strength}"), rtol=0, atol=1e-5)

    @parameterized.product(kernel_size=(3, 23), sigma=(0.1, 1.0, 2.0))
    def test_blurs_are_reproduced(self, kernel_size, sigma):
        image = tf.constant(_golden("image")[np.newaxis])
        result = augmentations.gaussian_blur(image, _strengths(sigma), kernel_size=kernel_size)
        self.assertAllClose(result[0], _golden(f"blur_kernel{kernel_size}_sigma{sigma}"), rtol=0, atol=1e-5)

    def test_grayscale_solarisation_and_colour_coordinates_are_reproduced(self):
        image = tf.constant(_golden("image")[np.newaxis])
        self.assertAllClose(augmentations.to_grayscale(image)[0], _golden("grayscale"), rtol=0, atol=1e-5)
        self.assertAllClose(augmentations.solarize(image)[0], _golden("solarize_0.5"), rtol=0, atol=1e-5)
        hue, chroma, value = augmentations.hue_chroma_value(tf.transpose(image, [3, 0, 1, 2]))
        hsv = tf.stack([tf.math.floormod(hue / 6.0, 1.0), chroma / value, value], axis=-1)
        self.assertAllClose(hsv[0], _golden("hsv"), rtol=0, atol=1e-5)


class AdjustmentsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("brightness", (-0.4, 0.0, 0.3)),
        ("contrast", (0.6, 1.0, 1.4)),
        ("saturation", (0.0, 1.0, 1.8)),
        ("hue", (-0.5, 0.0, 0.37)),
    )
    def test_each_image_gets_its_own_strength(self, name, strengths):
        images = _images(3)
        result = _OPERATIONS[name](tf.constant(images), _strengths(*strengths))
        for image, strength, one in zip(images, strengths, result, strict=True):
            self.assertAllClose(one, _in_loops(name, image, strength), rtol=0, atol=1e-6)

    @parameterized.parameters("saturation", "hue")
    def test_black_white_grey_and_pure_colours_match_the_standard_library(self, name):
        levels = np.array(list(itertools.product((0.0, 0.5, 1.0), repeat=3)), np.float32).reshape(1, 9, 3, 3)
        for strength in (-1.0, -1 / 3, -0.1, 0.0, 0.1, 0.5, 1.0) if name == "hue" else (0.0, 0.8, 1.0, 1.2):
            result = _OPERATIONS[name](tf.constant(levels), _strengths(strength))
            self.assertAllClose(result[0], _in_loops(name, levels[0], strength), rtol=0, atol=1e-6)

    @parameterized.product(name=["saturation", "hue"], channels=[1, 2, 4, 7])
    def test_only_three_channels_have_a_colour(self, name, channels):
        images = _images(2, channels=channels)
        self.assertAllEqual(_OPERATIONS[name](images, _strengths(0.3, 1.3)), images)
        self.assertAllEqual(augmentations.to_grayscale(tf.constant(images)), images)

    @parameterized.parameters(0.3, 0.5)
    def test_solarisation_inverts_from_the_threshold_up(self, threshold):
        values = [0.0, np.nextafter(np.float32(threshold), np.float32(0)), threshold, 0.9, 1.0]
        expected = [value if np.float32(value) < np.float32(threshold) else 1.0 - value for value in values]
        result = augmentations.solarize(tf.constant(values, tf.float32), threshold)
        self.assertAllClose(result, expected, rtol=0, atol=1e-7)

    @parameterized.parameters((3, 1), (4, 2), (9, 4))
    def test_each_image_gets_its_own_blur(self, kernel_size, radius):
        images, sigmas = _images(3, 6, 7, 2), (0.1, 0.8, 2.0)
        result = augmentations.gaussian_blur(tf.constant(images), _strengths(*sigmas), kernel_size=kernel_size)
        for image, sigma, one in zip(images, sigmas, result, strict=True):
            self.assertAllClose(one, _blur_in_loops(image, sigma, radius), rtol=0, atol=1e-6)

    @parameterized.named_parameters(*modes.ALL)
    def test_they_are_the_same_wherever_they_run(self, run):
        def all_of_them(images, strengths):
            adjusted = [operation(images, strengths) for operation in _OPERATIONS.values()]
            blurred = augmentations.gaussian_blur(images, strengths, kernel_size=5)
            return [*adjusted, blurred, augmentations.to_grayscale(images), augmentations.solarize(images)]

        arguments = tf.constant(_images(4)), _strengths(0.3, 0.7, 1.0, 1.2)
        for ours, eager in zip(
            run(lambda *a: tuple(all_of_them(*a)), *arguments), all_of_them(*arguments), strict=True
        ):
            self.assertAllClose(ours, eager, rtol=0, atol=5e-6)


class ColourJitterTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.orders = list(itertools.permutations(_OPERATIONS))
        ranks = [[order.index(name) / 4 for name in _OPERATIONS] for order in self.orders]
        self.images = _images(24)
        rng = np.random.default_rng(1)
        self.strengths = {
            "brightness": rng.uniform(-0.4, 0.4, 24),
            "contrast": rng.uniform(0.6, 1.4, 24),
            "saturation": rng.uniform(0.5, 1.5, 24),
            "hue": rng.uniform(-0.3, 0.3, 24),
        }
        self.arguments = {name: tf.constant(value, tf.float32) for name, value in self.strengths.items()}
        self.arguments["ranks"] = tf.constant(ranks)

    def test_every_order_is_the_four_operations_one_after_another_each_clipped(self):
        result = augmentations.colour_jitter(tf.constant(self.images), **self.arguments)
        for index, order in enumerate(self.orders):
            expected = self.images[index]
            for name in order:
                expected = np.clip(_in_loops(name, expected, self.strengths[name][index]), 0.0, 1.0)
            self.assertAllClose(result[index], expected, rtol=0, atol=5e-6, msg=str(order))

    def test_the_order_matters(self):  # else the test above would prove nothing
        images = tf.tile(self.images[:1], [24, 1, 1, 1])
        strengths = {name: tf.fill([24], value[0]) for name, value in self.arguments.items() if name != "ranks"}
        results = augmentations.colour_jitter(images, ranks=self.arguments["ranks"], **strengths).numpy()
        distinct = {tuple(np.round(result.ravel(), 4)) for result in results}
        # Saturation and hue are neighbours in 12 of the 24 orders, which makes 6 pairs of equal ones.
        self.assertLen(distinct, 18)

    def test_neutral_strengths_change_nothing(self):
        zeros, ones = tf.zeros([24]), tf.ones([24])
        result = augmentations.colour_jitter(
            self.images, brightness=zeros, contrast=ones, saturation=ones, hue=zeros, ranks=self.arguments["ranks"]
        )
        self.assertAllClose(result, self.images, rtol=0, atol=1e-6)

    @parameterized.parameters(1, 5)
    def test_channels_without_colour_get_brightness_and_contrast_each_by_itself_in_their_order(self, channels):
        images = np.tile(self.images, [1, 1, 1, 2])[..., :channels]
        result = augmentations.colour_jitter(images, **self.arguments)
        for index, order in enumerate(self.orders):
            expected = images[index]
            for name in order:
                if name in ("brightness", "contrast"):
                    expected = np.clip(_in_loops(name, expected, self.strengths[name][index]), 0.0, 1.0)
            self.assertAllClose(result[index], expected, rtol=0, atol=1e-6)

    @parameterized.named_parameters(*modes.ALL)
    def test_it_is_the_same_wherever_it_runs(self, run):
        names = list(self.arguments)

        def jitter(images, *values):
            return augmentations.colour_jitter(images, **dict(zip(names, values, strict=True)))

        values = [self.arguments[name] for name in names]
        eager = augmentations.colour_jitter(self.images, **self.arguments)
        self.assertAllClose(run(jitter, tf.constant(self.images), *values), eager, rtol=0, atol=5e-6)


if __name__ == "__main__":
    tf.test.main()
