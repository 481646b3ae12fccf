"""Tests of the corruptions in semppl.evaluation.robustness, against their definitions and, where installed, imagecorruptions."""

import colorsys
import importlib.util
import io
import json
import math
import unittest
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from semppl.evaluation.robustness import blur, digital, textures, weather
from semppl.evaluation.robustness.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt
from semppl.tests.evaluation.robustness import recorded

_ALL = CORRUPTIONS | EXTRA_CORRUPTIONS
_OWN_DRAWS = ("impulse_noise", "glass_blur", "frost", "elastic_transform")
"""Corruptions that do not draw numbers as imagecorruptions does, or from other distributions."""


def _rng():
    return np.random.default_rng(3)


def _image(height=9, width=11, channels=3):
    return np.random.default_rng(1).uniform(0.05, 0.95, (height, width, channels))


def _gaussian(stddev):
    """The weights of a Gaussian of four standard deviations, by distance from the centre."""
    reach = int(4 * stddev + 0.5)
    weights = {d: math.exp(-(d**2) / (2 * stddev**2)) for d in range(-reach, reach + 1)}
    return {d: weight / sum(weights.values()) for d, weight in weights.items()}


def _smoothed(image, stddev):
    height, width, _ = image.shape
    result, weights = np.zeros(image.shape), _gaussian(stddev)
    for row in range(height):
        for column in range(width):
            for down, by_row in weights.items():
                for right, by_column in weights.items():
                    there = min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)
                    result[row, column] += by_row * by_column * image[there]
    return result


def _reflected(place, side):
    period = 2 * (side - 1)
    place = place % period
    return min(place, period - place)


class DefinitionsTest(parameterized.TestCase):
    @parameterized.parameters(*zip(SEVERITIES, (0.08, 0.12, 0.18, 0.26, 0.38), strict=True))
    def test_gaussian_noise_is_added(self, severity, stddev):
        image, noise = _image(), _rng().normal(size=(9, 11, 3)) * stddev
        np.testing.assert_allclose(_ALL["gaussian_noise"](image, severity, _rng()), np.clip(image + noise, 0, 1))

    @parameterized.parameters(*zip(SEVERITIES, (0.15, 0.2, 0.35, 0.45, 0.6), strict=True))
    def test_speckle_noise_is_in_proportion_to_the_value(self, severity, stddev):
        image, noise = _image(), _rng().normal(size=(9, 11, 3)) * stddev
        np.testing.assert_allclose(_ALL["speckle_noise"](image, severity, _rng()), np.clip(image * (1 + noise), 0, 1))

    @parameterized.parameters(*zip(SEVERITIES, (60, 25, 12, 5, 3), strict=True))
    def test_shot_noise_counts_photons_of_which_the_variance_is_the_mean(self, severity, photons):
        counts = _ALL["shot_noise"](np.full((200, 200, 1), 0.3), severity, _rng()) * photons
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
        self.assertAlmostEqual(counts.mean(), 0.3 * photons, delta=0.02 * photons)
        if severity < 3:  # hardly any value is cut off at 1
            self.assertAlmostEqual(counts.var() / counts.mean(), 1, delta=0.05)

    @parameterized.parameters(*zip(SEVERITIES, (0.03, 0.06, 0.09, 0.17, 0.27), strict=True))
    def test_impulse_noise_is_black_or_white(self, severity, share):
        noisy = _ALL["impulse_noise"](np.full((200, 200, 1), 0.3), severity, _rng())
        self.assertEqual(set(np.unique(noisy)), {0.0, 0.3, 1.0})
        for value in (0, 1):
            self.assertAlmostEqual(np.mean(noisy == value), share / 2, delta=0.1 * share)

    @parameterized.parameters((1, 1), (2, 2))
    def test_gaussian_blur_matches_plain_loops(self, severity, stddev):
        image = _image(5, 6, 2)
        np.testing.assert_allclose(_ALL["gaussian_blur"](image, severity, _rng()), _smoothed(image, stddev), atol=1e-12)

    def test_defocus_blur_matches_plain_loops(self):
        image, kernel = _image(9, 10, 1), blur.disk(4, 0.5)
        self.assertAlmostEqual(kernel.sum(), 1)
        self.assertGreater(kernel[8, 8], 1 / (1.1 * math.pi * 4.5**2))
        self.assertEqual(kernel[0, 0], 0)
        expected = np.zeros((9, 10))
        for row, column in np.ndindex(9, 10):
            for down, right in np.ndindex(*kernel.shape):
                there = _reflected(row + down - 8, 9), _reflected(column + right - 8, 10)
                expected[row, column] += kernel[down, right] * image[there][0]
        np.testing.assert_allclose(_ALL["defocus_blur"](image, 2, _rng())[..., 0], expected, atol=1e-12)

    def test_motion_blur_draws_half_a_gaussian_of_points(self):
        image = np.zeros((30, 40, 1))
        image[15, 20] = 1
        weights = [math.exp(-(step**2) / 18) for step in range(21)]
        expected = np.zeros((30, 40))
        for step, weight in enumerate(weights):
            down, right = (math.ceil(step * part - 0.5) for part in (math.sin(0.5), math.cos(0.5)))
            expected[15 - down, 20 - right] += weight / sum(weights)
        got = blur.moved(image, radius=10, stddev=3, degrees=math.degrees(0.5))
        np.testing.assert_allclose(got[..., 0], expected, atol=1e-12)

    @parameterized.parameters(
        *zip(SEVERITIES, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)), strict=True)
    )
    def test_glass_blur_copies_pixels_from_nearby_between_two_smoothings(self, severity, numbers):
        stddev, reach, rounds = numbers
        image = np.round(255 * _image(13, 12)) / 255
        draws, pixels = _rng().integers(-reach, reach, size=(rounds, 13 - 2 * reach, 12 - 2 * reach, 2)), image.copy()
        for moves in draws:
            for number, row in enumerate(range(13 - reach, reach, -1)):
                for place, column in enumerate(range(12 - reach, reach, -1)):
                    down, right = moves[number, place]
                    pixels[row, column] = pixels[row + down, column + right]
        with mock.patch.object(blur, "smoothed", side_effect=lambda image, stddev: image + 1e-9) as smoothed:
            glass = _ALL["glass_blur"](image, severity, _rng())
        np.testing.assert_allclose(glass, pixels, atol=1e-6)
        self.assertEqual([call.args[1] for call in smoothed.call_args_list], [stddev, stddev])

    def test_zoom_blur_averages_enlargements(self):
        image = _image(20, 30)
        factors = [1 + 0.02 * step for step in range(11)]
        total = image + sum(blur.enlarged(image, factor) for factor in factors)
        np.testing.assert_allclose(_ALL["zoom_blur"](image, 3, _rng()), total / 12, atol=1e-9)
        np.testing.assert_allclose(blur.enlarged(image, 1.0), image, atol=1e-12)
        large = blur.enlarged(np.tile(np.arange(30.0)[:, np.newaxis, np.newaxis], (1, 30, 1)), 2)
        self.assertAlmostEqual(large[:, 0, 0].mean(), 14, delta=0.6)  # the centre, rows 7 to 21
        self.assertAlmostEqual(large[-1, 0, 0] - large[0, 0, 0], 14, delta=0.6)

    @parameterized.parameters(*zip(SEVERITIES, (0.1, 0.2, 0.3, 0.4, 0.5), strict=True))
    def test_brightness_raises_the_value_of_hsv(self, severity, amount):
        image = _image(4, 5)
        image[0, 0] = 0
        expected = np.zeros(image.shape)
        for place in np.ndindex(4, 5):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[place])
            expected[place] = colorsys.hsv_to_rgb(hue, saturation, min(value + amount, 1))
        np.testing.assert_allclose(_ALL["brightness"](image, severity, _rng()), expected, atol=1e-12)

    @parameterized.parameters(*zip(SEVERITIES, ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)), strict=True))
    def test_saturate_scales_and_raises_the_saturation_of_hsv(self, severity, numbers):
        image = _image(4, 5)
        image[0, 0] = 0.5
        expected = np.zeros(image.shape)
        for place in np.ndindex(4, 5):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[place])
            saturation = min(numbers[0] * saturation + numbers[1], 1)
            expected[place] = colorsys.hsv_to_rgb(hue, saturation, value)
        np.testing.assert_allclose(_ALL["saturate"](image, severity, _rng()), expected, atol=1e-12)

    @parameterized.parameters(*zip(SEVERITIES, (0.4, 0.3, 0.2, 0.1, 0.05), strict=True))
    def test_contrast_keeps_the_mean_of_each_channel(self, severity, factor):
        image = _image()
        lower = _ALL["contrast"](image, severity, _rng())
        np.testing.assert_allclose(lower.mean((0, 1)), image.mean((0, 1)))
        np.testing.assert_allclose(lower - lower[0, 0], factor * (image - image[0, 0]), atol=1e-12)

    def test_pixelate_averages_blocks(self):
        image = np.round(255 * _image(8, 12)) / 255
        blocks = image.reshape(4, 2, 6, 2, 3).mean((1, 3)).repeat(2, 0).repeat(2, 1)
        np.testing.assert_allclose(_ALL["pixelate"](image, 2, _rng()), blocks, atol=1.1 / 255)

    @parameterized.parameters(*zip(SEVERITIES, (0.6, 0.5, 0.4, 0.3, 0.25), strict=True))
    def test_pixelate_leaves_few_rows(self, severity, share):
        pixels = _ALL["pixelate"](_image(40, 20), severity, _rng())
        self.assertLen(np.unique(pixels[..., 0], axis=0), int(40 * share))

    @parameterized.parameters(*zip(SEVERITIES, (25, 18, 15, 10, 7), strict=True))
    def test_jpeg_compression_is_that_of_a_file_of_low_quality(self, severity, quality):
        pixels, file = (255 * _image(24, 32)).astype(np.uint8), io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        self.assertTrue(np.array_equal(corrupt(pixels, "jpeg_compression", severity), np.asarray(Image.open(file))))

    @parameterized.parameters(
        (1, 2, 0.7, 0.1), (2, 2, 0.08, 0.2), (3, 0.05, 0.01, 0.02), (4, 0.07, 0.01, 0.02), (5, 0.12, 0.01, 0.02)
    )
    def test_elastic_transform_matches_plain_loops(self, severity, strength, smoothness, reach):
        height, width = 24, 28
        image, rng = _image(height, width, 1), _rng()
        side, third = 244 / 224 * 24, 24 // 3
        old = [(12 + third, 14 + third), (12 + third, 14 - third), (12 - third, 14 - third)]
        new = np.array(old) + rng.uniform(-reach * side, reach * side, (3, 2))
        bends = [rng.uniform(-1, 1, (height, width)) for _ in range(2)]
        with mock.patch.object(digital.ndimage, "gaussian_filter", side_effect=lambda noise, *_, **__: noise) as smooth:
            got = _ALL["elastic_transform"](image, severity, _rng())
        self.assertAlmostEqual(smooth.call_args.args[1], smoothness * side)
        for row, column in ((5, 6), (12, 14), (17, 20)):
            place = np.array([row, column]) + strength * side * np.array([bend[row, column] for bend in bends])
            shares = np.linalg.solve(np.vstack([new.T, np.ones(3)]), np.append(place, 1))  # barycentric
            down, right = shares @ np.array(old)
            top, left = math.floor(down), math.floor(right)
            value = sum(
                (1 - abs(down - y)) * (1 - abs(right - x)) * image[_reflected(y, height), _reflected(x, width), 0]
                for y in (top, top + 1)
                for x in (left, left + 1)
            )
            self.assertAlmostEqual(got[row, column, 0], value, delta=1e-9)

    @parameterized.parameters(*zip(SEVERITIES, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)), strict=True))
    def test_fog_is_a_fractal_scaled_to_the_brightest_value(self, severity, numbers):
        image = _image()
        mist = textures.plasma(11, numbers[1], _rng())
        self.assertEqual((mist.shape, mist.min(), mist.max()), ((16, 16), 0, 1))
        expected = (image + numbers[0] * mist[:9, :11, np.newaxis]) * image.max() / (image.max() + numbers[0])
        np.testing.assert_allclose(_ALL["fog"](image, severity, _rng()), np.clip(expected, 0, 1))

    def test_a_fractal_is_rougher_with_less_decay(self):
        rough, smooth = (np.abs(np.diff(textures.plasma(64, decay, _rng()), axis=0)).mean() for decay in (1.4, 3))
        self.assertGreater(rough, 2 * smooth)

    @parameterized.parameters(
        *zip(SEVERITIES, ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)), strict=True)
    )
    def test_frost_is_a_mixture_of_image_and_texture(self, severity, shares):
        image, crystals = _image(), textures.frost_crystals(9, 11, _rng())
        self.assertBetween(crystals.min(), 0, crystals.max())
        expected = np.clip(shares[0] * image + shares[1] * crystals, 0, 1)
        np.testing.assert_allclose(_ALL["frost"](image, severity, _rng()), expected)

    def test_frost_has_needles_on_a_ground(self):
        crystals = textures.frost_crystals(64, 64, _rng())
        self.assertBetween(crystals.mean(), 0.2, 0.7)
        self.assertGreater(crystals.std(), 0.1)
        self.assertGreater(crystals[..., 2].mean(), crystals[..., 0].mean())

    def test_snow_falls_on_a_whitened_image_from_both_sides(self):
        image = np.full((20, 24, 3), 0.2)
        with mock.patch.object(weather, "moved", side_effect=lambda flakes, **_: flakes * 0):
            ground = _ALL["snow"](image, 1, _rng())
        np.testing.assert_allclose(ground, 0.8 * 0.2 + 0.2 * (1.5 * 0.2 + 0.5))
        flakes = _ALL["snow"](image, 1, _rng()) - ground
        self.assertGreater(flakes.max(), 0.1)
        np.testing.assert_allclose(flakes, flakes[::-1, ::-1], atol=1e-12)

    def test_spatter_of_water_lightens_and_mud_darkens(self):
        image = np.full((64, 64, 3), 0.5)
        for severity in SEVERITIES:
            change = _ALL["spatter"](image, severity, _rng()) - image
            self.assertBetween(np.mean(np.abs(change).max(-1) > 0.01), 0.01, 0.95, severity)
            self.assertTrue(change.min() > -1e-9 if severity < 4 else change.max() < 1e-9)

    @parameterized.parameters(*((name, severity) for name in _ALL if name not in _OWN_DRAWS for severity in SEVERITIES))
    def test_what_changes_is_recorded_from_imagecorruptions(self, name, severity):
        expected = json.loads(recorded.FILE.read_text())[f"{name}/{severity}"]
        bound = 12 if name == "spatter" and severity < 4 else 0.6
        np.testing.assert_allclose(recorded.described(recorded.ours(name, severity)), expected, atol=bound)


class CorruptTest(parameterized.TestCase):
    @parameterized.parameters(*_ALL)
    def test_any_size_and_one_channel_too(self, name):
        for shape in ((1, 1, 3), (8, 8, 1), (33, 50, 3)):
            image = (255 * _image(*shape)).astype(np.uint8)
            for severity in (1, 5):
                corrupted = corrupt(image, name, severity)
                self.assertEqual((corrupted.shape, corrupted.dtype), (shape, np.uint8))

    @parameterized.parameters(*_ALL)
    def test_black_and_white_images_are_taken(self, name):
        for value in (0, 255):
            corrupt(np.full((16, 16, 3), value, np.uint8), name, 5)

    @parameterized.parameters(*_ALL)
    def test_a_higher_severity_changes_more(self, name):
        image = recorded.image()
        changed = [np.abs(corrupt(image, name, severity) / 255 - image / 255).mean() for severity in (1, 5)]
        self.assertGreater(changed[0], 0.002)
        if name not in ("elastic_transform", "frost"):  # whose published strengths do not rise throughout
            self.assertGreater(changed[1], changed[0])

    def test_draws_follow_from_picture_corruption_severity_and_seed(self):
        image = recorded.image()
        first = corrupt(image, "gaussian_noise", 2, position=4, seed=5)
        self.assertTrue(np.array_equal(corrupt(image, "gaussian_noise", 2, position=4, seed=5), first))
        for name, severity, position, seed in (
            ("gaussian_noise", 2, 5, 5),
            ("gaussian_noise", 2, 4, 6),
            ("gaussian_noise", 3, 4, 5),
            ("speckle_noise", 2, 4, 5),
        ):
            self.assertFalse(np.array_equal(corrupt(image, name, severity, position=position, seed=seed), first))

    def test_arguments_are_checked(self):
        image = np.zeros((8, 8, 3), np.uint8)
        for arguments, message in (
            ((image, "rain", 1), "`name` must be one of gaussian_noise, .*Received: rain"),
            ((image, "fog", 6), r"`severity` must be in 1\.\.5\. Received: 6"),
            ((image[..., :2], "fog", 1), r"`image` must be .*Received: \[8, 8, 2\] uint8"),
            ((image / 255, "fog", 1), r"`image` must be .*Received: \[8, 8, 3\] float64"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                corrupt(*arguments)


@unittest.skipUnless(importlib.util.find_spec("imagecorruptions"), "imagecorruptions is not installed")
class ImageCorruptionsTest(parameterized.TestCase):
    @parameterized.parameters(
        *((name, severity) for name in _ALL if name not in (*_OWN_DRAWS, "spatter") for severity in SEVERITIES)
    )
    def test_with_the_same_draws_the_images_are_the_same(self, name, severity):
        difference = recorded.ours(name, severity) - recorded.theirs(name, severity)
        self.assertLess(np.abs(difference).mean(), 0.3)
        self.assertLessEqual(np.abs(difference).max(), 1)

    @parameterized.parameters(
        *((name, severity) for name in ("impulse_noise", "glass_blur") for severity in SEVERITIES)
    )
    def test_with_other_draws_as_much_changes(self, name, severity):
        image = recorded.image().astype(float)
        own, others = (np.abs(made(name, severity) - image).mean() for made in (recorded.ours, recorded.theirs))
        self.assertAlmostEqual(own / others, 1, delta=0.15)

    def test_the_record_is_of_this_release(self):
        record = json.loads(recorded.FILE.read_text())
        self.assertEqual(recorded.made().keys(), record.keys())
        for name, numbers in recorded.made().items():
            np.testing.assert_allclose(numbers, record[name], atol=0.5, err_msg=name)


if __name__ == "__main__":
    absltest.main()
