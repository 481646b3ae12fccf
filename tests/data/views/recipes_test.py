"""Tests of semppl.data.views.recipes."""

import colorsys
import dataclasses
import itertools
import math
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.views import ViewSettings
from semppl.data.views import augmentations, geometry, recipes
from semppl.data.views.making import make_views
from semppl.tests.data import modes

_STILL = dataclasses.replace(
    recipes.IMAGENET,
    crop_area=(1.0, 1.0),
    crop_aspect=(1.0, 1.0),
    flip_probability=0.0,
    jitter_probability=0.0,
    grayscale_probability=0.0,
    blur_probability=(0.0, 0.0),
    solarize_probability=(0.0, 0.0),
)
_STILL_DIGITS = recipes.Digits(shift=0.0, zoom=0.0, rotation=0.0, shear=0.0, contrast=0.0, brightness=0.0, noise=0.0)


def _images(batch, height=12, width=10, channels=3):
    return tf.constant(np.random.default_rng(0).uniform(0, 1, (batch, height, width, channels)), tf.float32)


def _seeds(batch, first=0):
    return tf.stack([tf.fill([batch], 3), first + tf.range(batch)], axis=1)


def _make(images, seeds, recipe, large_views=2, small_views=1, **settings):
    settings = {"large_size": 12, "small_size": 8} | settings
    masks = settings.pop("masks", None)
    views = ViewSettings(recipe=recipe, large_views=large_views, small_views=small_views, **settings)
    return make_views(images, views, seed=seeds, masks=masks)


def _natural(images, settings, view=0):
    """The recipe with settings of the test's own, as one view of the images' own size."""
    batch, size = images.shape[:2]
    seeds = tf.bitcast(_seeds(batch), tf.uint32)
    return recipes.natural(settings)(images, seeds, tf.fill([batch], view), size)


def _digits(images, **settings):
    batch, size = images.shape[:2]
    settings = dataclasses.replace(_STILL_DIGITS, **settings)
    return recipes.digits(settings)(images, tf.bitcast(_seeds(batch), tf.uint32), tf.zeros([batch], tf.int32), size)


def _share_changed(before, after):
    return np.mean(np.max(np.abs(after - before), axis=(1, 2, 3)) > 1e-4)


def _largest_gap(sample, low, high):
    """Between the sample's distribution and the uniform one on low..high (Kolmogorov and Smirnov)."""
    ordered, steps = (np.sort(sample) - low) / (high - low), np.arange(len(sample) + 1) / len(sample)
    return max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1]))


class MakeViewsTest(tf.test.TestCase, parameterized.TestCase):
    def test_sixteen_bits_are_taken_over_their_whole_range(self):
        levels = np.random.default_rng(0).integers(0, 65536, (16, 12, 10, 1)).astype(np.uint16)
        shares = tf.constant(levels.astype(np.float64) / 65535, tf.float32)
        one, other = (_make(images, _seeds(16), "imagenet")["large"] for images in (tf.constant(levels), shares))
        self.assertAllClose(one, other, rtol=0, atol=1e-6)

    @parameterized.product(recipe=sorted(recipes.RECIPES), channels=(1, 3, 5), small_views=(0, 2))
    def test_views_have_static_shapes_and_stay_between_0_and_1(self, recipe, channels, small_views):
        made = _make(_images(16, channels=channels), _seeds(16), recipe, large_views=3, small_views=small_views)
        self.assertEqual(made["large"].shape, (3, 16, 12, 12, channels))
        self.assertEqual(made["small"].shape, (small_views, 16, 8, 8, channels))
        for batch in made.values():
            self.assertEqual(batch.dtype, tf.float32)
            self.assertAllEqual(batch, tf.clip_by_value(batch, 0.0, 1.0))

    @parameterized.parameters(sorted(recipes.RECIPES))
    def test_bytes_are_read_as_shares_of_255(self, recipe):
        levels = np.random.default_rng(0).integers(0, 256, (4, 12, 10, 3), np.uint8)
        from_bytes, from_shares = (_make(tf.constant(x), _seeds(4), recipe) for x in (levels, np.float32(levels / 255)))
        self.assertAllClose(from_bytes, from_shares, rtol=0, atol=2e-6)

    @parameterized.product(recipe=("imagenet", "digits", "identity"), run=(modes.compiled, modes.in_dataset))
    def test_views_are_the_same_wherever_they_are_made(self, recipe, run):
        def make(*arguments):
            return _make(*arguments, recipe)

        arguments = _images(4), _seeds(4)
        self.assertAllClose(run(make, *arguments), make(*arguments), rtol=0, atol=2e-5)

    @parameterized.parameters(("imagenet", True), ("cifar", False), ("digits", False))
    def test_a_seed_gives_the_same_views_bit_for_bit(self, recipe, compile_it):
        make = tf.function(lambda *arguments: _make(*arguments, recipe), jit_compile=compile_it)
        first, second = (make(_images(4), _seeds(4)) for _ in range(2))
        self.assertAllEqual(first["large"], second["large"])
        self.assertAllEqual(first["small"], second["small"])

    @parameterized.parameters(sorted(recipes.RECIPES))
    def test_an_images_views_depend_on_neither_its_row_nor_its_neighbours(self, recipe):
        images, seeds, rows = _images(9), _seeds(9), [7, 2, 4]
        whole = _make(images, seeds, recipe)
        part = _make(tf.gather(images, rows), tf.gather(seeds, rows), recipe)
        for key in ("large", "small"):
            self.assertAllClose(part[key], tf.gather(whole[key], rows, axis=1), rtol=0, atol=1e-5)

    @parameterized.parameters("imagenet", "cifar", "grey", "digits")
    def test_another_step_another_image_and_another_view_are_augmented_differently(self, recipe):
        images = tf.repeat(_images(1, 40, 40), 20, axis=0)
        now, later = (_make(images, _seeds(20, first), recipe, small_views=2, small_size=12) for first in (0, 20))
        every = tf.concat([*now.values(), *later.values()], axis=0).numpy().reshape(8 * 20, -1)
        distances = np.abs(every[:, np.newaxis] - every).mean(axis=-1) + np.eye(len(every))
        self.assertGreater(distances.min(), 1e-3)

    def test_large_views_do_not_depend_on_the_number_of_views(self):
        few, many = (
            _make(_images(4), _seeds(4), "imagenet", large_views=n, small_views=n - 1)["large"] for n in (2, 4)
        )
        self.assertAllClose(few, many[:2], rtol=0, atol=1e-6)

    def test_views_are_numbered_through_the_large_and_then_the_small(self):
        number = recipes.Recipe(
            crop=lambda images, seeds, size: images[:, :size, :size],
            finish=lambda crops, seeds, numbers: (
                tf.zeros_like(crops) + tf.cast(numbers, tf.float32)[:, None, None, None]
            ),
        )
        with mock.patch.dict(recipes.RECIPES, number=number):
            made = _make(_images(2), _seeds(2), "number", large_views=3, small_views=2, large_size=8)
        self.assertAllEqual(made["large"][:, :, 0, 0, 0], [[0, 0], [1, 1], [2, 2]])
        self.assertAllEqual(made["small"][:, :, 0, 0, 0], [[3, 3], [4, 4]])

    def test_a_batch_of_unknown_size_is_accepted(self):
        dataset = tf.data.Dataset.from_tensor_slices((_images(5), _seeds(5))).batch(3)
        shapes = [made["large"].shape for made in dataset.map(lambda *x: _make(*x, "cifar"))]
        self.assertEqual(shapes, [(2, 3, 12, 12, 3), (2, 2, 12, 12, 3)])

    def test_the_constants_are_those_of_byol(self):
        # Grill et al. 2020, arXiv 2006.07733, table 6: pairs are T and T'.
        table = {
            "crop_area": (0.08, 1.0),
            "crop_aspect": (3 / 4, 4 / 3),
            "flip_probability": 0.5,
            "jitter_probability": 0.8,
            "brightness": 0.4,
            "contrast": 0.4,
            "saturation": 0.2,
            "hue": 0.1,
            "grayscale_probability": 0.2,
            "blur_probability": (1.0, 0.1),
            "blur_sigma": (0.1, 2.0),
            "blur_divider": 10,
            "solarize_probability": (0.0, 0.2),
            "solarize_threshold": 0.5,
        }
        self.assertEqual(dataclasses.asdict(recipes.IMAGENET), table)
        self.assertEqual(dataclasses.asdict(recipes.CIFAR), table | {"blur_probability": (0.0, 0.0)})
        gentle = {"crop_area": (0.3, 1.0), "blur_probability": (0.0, 0.0), "solarize_probability": (0.0, 0.0)}
        self.assertEqual(dataclasses.asdict(recipes.GENTLE), table | gentle)
        self.assertEqual(recipes.RECIPES["imagenet"].centre_crop, 0.875)

    def test_an_unknown_recipe_is_refused(self):
        with self.assertRaisesRegex(ValueError, r"--recipe must be one of cifar, .*\. Received: x$"):
            _make(_images(2), _seeds(2), "x")

    @parameterized.parameters(((2, 8, 8), tf.float32), ((2, 8, 8, 3), tf.int32))
    def test_images_of_another_shape_or_type_are_refused(self, shape, dtype):
        with self.assertRaisesRegex(
            ValueError, r"`images` must be uint8, uint16 or float32 of shape \[B, H, W, C\]\. Received: "
        ):
            _make(tf.zeros(shape, dtype), _seeds(2), "cifar")

    def test_identity_is_a_bicubic_resize(self):
        images = _images(3)
        expected = tf.clip_by_value(tf.image.resize(images, [8, 8], "bicubic"), 0.0, 1.0)
        self.assertAllClose(_make(images, _seeds(3), "identity")["small"][0], expected, rtol=0, atol=1e-5)


class MasksTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.images = _images(400, 12, 12)
        self.masks = np.zeros([400, 12, 12], np.uint8)
        self.masks[:, 3:9, 2:7] = 1
        self.without = np.where(self.masks[..., np.newaxis] > 0, self.images, 0.5)

    @parameterized.parameters(np.uint8, np.float32, bool)
    def test_the_background_becomes_grey_in_large_views_only(self, dtype):
        masks = tf.constant(self.masks.astype(dtype))
        made = _make(self.images, _seeds(400), "identity", masks=masks, mask_probability=1.0)
        for view in made["large"]:
            self.assertAllClose(view, self.without, rtol=0, atol=1e-6)
        self.assertAllEqual(made["small"], _make(self.images, _seeds(400), "identity")["small"])

    def test_it_goes_before_the_crop(self):
        made = _make(self.images, _seeds(400), "imagenet", masks=tf.constant(self.masks), mask_probability=1.0)
        expected = _make(tf.constant(self.without, tf.float32), _seeds(400), "imagenet")
        self.assertAllClose(made["large"], expected["large"], rtol=0, atol=1e-5)

    @parameterized.parameters(0.0, 0.1, 0.5)
    def test_each_large_view_is_masked_by_its_own_chance(self, probability):
        made = _make(self.images, _seeds(400), "identity", masks=tf.constant(self.masks), mask_probability=probability)
        masked = np.max(np.abs(made["large"] - self.images), axis=(2, 3, 4)) > 1e-4  # [L,B]
        tolerance = 4 * math.sqrt(probability * (1 - probability) / 400)
        self.assertAllClose(masked.mean(axis=1), [probability] * 2, rtol=0, atol=tolerance)
        self.assertAllClose(np.mean(masked[0] & masked[1]), probability**2, rtol=0, atol=tolerance)

    def test_a_tenth_is_the_default_and_no_mask_is_no_masking(self):
        made = _make(self.images, _seeds(400), "identity", masks=tf.constant(self.masks))["large"]
        explicit = _make(self.images, _seeds(400), "identity", masks=tf.constant(self.masks), mask_probability=0.1)[
            "large"
        ]
        self.assertAllEqual(made, explicit)
        self.assertAllClose(_make(self.images, _seeds(400), "identity")["large"][0], self.images, rtol=0, atol=1e-6)

    def test_masks_of_another_size_are_refused(self):
        with self.assertRaisesRegex(ValueError, r"images \(400, 12, 12, 3\)\. Received: masks of shape \(400, 8, 8\)"):
            _make(self.images, _seeds(400), "cifar", masks=tf.ones([400, 8, 8]))


class NaturalTest(tf.test.TestCase, parameterized.TestCase):
    def test_nothing_chosen_returns_the_image(self):
        images = _images(20, 8, 8)
        self.assertAllClose(_natural(images, _STILL), images, rtol=0, atol=2e-6)

    @parameterized.parameters(
        ("flip_probability", 0.5, 0.5),
        ("jitter_probability", 0.8, 0.8),
        ("grayscale_probability", 0.2, 0.2),
        ("blur_probability", 1.0, 0.1),
        ("solarize_probability", 0.0, 0.2),
    )
    def test_each_operation_comes_as_often_as_the_official_recipe_says(self, name, even, odd):
        images = _images(1500, 8, 8)
        settings = dataclasses.replace(
            _STILL, **{name: getattr(recipes.IMAGENET, name)}, blur_divider=2, blur_sigma=(1, 2)
        )
        for view, probability in enumerate((even, odd, even, odd)):
            share = _share_changed(images, _natural(images, settings, view))
            tolerance = 4 * math.sqrt(probability * (1 - probability) / 1500)
            self.assertAllClose(share, probability, rtol=0, atol=tolerance)

    def test_chances_of_different_operations_are_independent(self):
        images = _images(1500, 8, 8)
        names = ("flip_probability", "jitter_probability", "grayscale_probability")
        chosen = []
        for name in names:
            settings = dataclasses.replace(_STILL, **{name: 0.5})
            chosen.append(np.max(np.abs(_natural(images, settings) - images), axis=(1, 2, 3)) > 1e-4)
        for name in ("blur_probability", "solarize_probability"):
            settings = dataclasses.replace(_STILL, **{name: (0.5, 0.5)}, blur_divider=2, blur_sigma=(1, 2))
            chosen.append(np.max(np.abs(_natural(images, settings) - images), axis=(1, 2, 3)) > 1e-4)
        self.assertLess(np.abs(np.corrcoef(np.array(chosen)) - np.eye(5)).max(), 4 / math.sqrt(1500))

    def test_a_flip_is_left_to_right(self):
        images = _images(10, 8, 8)
        flipped = _natural(images, dataclasses.replace(_STILL, flip_probability=1.0))
        self.assertAllClose(flipped, images[:, :, ::-1], rtol=0, atol=2e-6)

    @parameterized.parameters(0.3, 0.5)
    def test_solarisation_has_the_threshold_of_the_settings(self, threshold):
        images = _images(10, 8, 8).numpy()
        settings = dataclasses.replace(_STILL, solarize_probability=(1.0, 1.0), solarize_threshold=threshold)
        expected = np.where(images < threshold, images, 1.0 - images)
        self.assertAllClose(_natural(tf.constant(images), settings), expected, rtol=0, atol=2e-6)

    @parameterized.parameters(("brightness", 0.4), ("contrast", 0.4), ("saturation", 0.2), ("hue", 0.1))
    def test_strengths_of_the_jitter_are_uniform_over_the_official_range(self, name, limit):
        names = ("brightness", "contrast", "saturation", "hue")
        settings = dataclasses.replace(_STILL, jitter_probability=1.0, **dict.fromkeys(names, 0.0))
        settings = dataclasses.replace(settings, **{name: getattr(recipes.IMAGENET, name)})
        left, right = [0.55, 0.45, 0.5], [0.45, 0.5, 0.55]
        image = tf.constant([[left, right], [left, right]])
        after = _natural(tf.repeat(image[tf.newaxis], 1500, axis=0), settings).numpy()[:, 0, 0]  # [B,3] of the left
        strength = {
            "brightness": after[:, 0] - 0.55,
            "contrast": (after[:, 0] - 0.5) / 0.05 - 1,
            "saturation": (1 - after[:, 1] / 0.55) / (0.10 / 0.55) - 1,
            "hue": np.array(
                [(colorsys.rgb_to_hsv(*pixel)[0] + 1 / 12 + 0.5) % 1 - 0.5 for pixel in after]
            ),  # from -1/12
        }[name]
        self.assertLess(_largest_gap(strength, -limit, limit), 1.95 / math.sqrt(1500))

    def test_all_orders_of_the_jitter_are_equally_likely_image_by_image(self):
        with mock.patch.object(augmentations, "colour_jitter", wraps=augmentations.colour_jitter) as jitter:
            _natural(_images(4800, 2, 2), recipes.IMAGENET)
        orders = [tuple(np.argsort(ranks)) for ranks in jitter.call_args.kwargs["ranks"].numpy()]
        counts = [orders.count(order) for order in itertools.permutations(range(4))]
        self.assertAllInRange(counts, 200 - 60, 200 + 60)  # 4.3 standard deviations
        strengths = [jitter.call_args.kwargs[name] for name in ("brightness", "contrast", "saturation", "hue")]
        both = np.concatenate([np.stack(strengths, axis=1), jitter.call_args.kwargs["ranks"]], axis=1)
        self.assertLess(np.abs(np.corrcoef(both, rowvar=False) - np.eye(8)).max(), 4 / math.sqrt(4800))

    @parameterized.parameters((224, 22), (96, 9))
    def test_blurs_have_uniform_widths_and_a_tenth_of_the_view_as_kernel(self, size, kernel_size):
        with mock.patch.object(augmentations, "gaussian_blur", side_effect=lambda images, **_: images) as blur:
            seeds = tf.bitcast(_seeds(10), tf.uint32)
            recipes.natural(recipes.IMAGENET)(_images(10), seeds, tf.zeros([10], tf.int32), size)
            self.assertEqual(blur.call_args.kwargs["kernel_size"], kernel_size)
            _natural(_images(1500, 4, 4), recipes.IMAGENET)
        self.assertLess(_largest_gap(blur.call_args.kwargs["sigma"].numpy(), 0.1, 2.0), 1.95 / math.sqrt(1500))

    def test_operations_come_in_the_official_order(self):
        calls = mock.Mock()
        names = ("colour_jitter", "to_grayscale", "gaussian_blur", "solarize")
        with mock.patch.multiple(augmentations, **{name: getattr(calls, name) for name in names}):
            for name in names:
                getattr(calls, name).side_effect = lambda images, **_: images
            _natural(_images(4), recipes.IMAGENET)
        self.assertEqual([call[0] for call in calls.mock_calls], list(names))

    @parameterized.parameters("imagenet", "cifar", "grey")
    def test_crops_have_the_official_areas_and_aspects(self, recipe):
        with mock.patch.object(geometry, "crop_and_resize", wraps=geometry.crop_and_resize) as crop:
            _make(tf.zeros([500, 100, 100, 1]), _seeds(500), recipe)
        boxes = np.concatenate([call.args[1] for call in crop.call_args_list])
        self.assertAllInRange(boxes[:, 2] * boxes[:, 3] / 1e4, 0.075, 1.0)
        self.assertAllInRange(boxes[:, 3] / boxes[:, 2], 0.75 * 0.97, 4 / 3 * 1.03)
        self.assertLess((boxes[:, 2] * boxes[:, 3]).min(), 1000)
        self.assertGreater((boxes[:, 2] * boxes[:, 3]).max(), 9000)

    def test_gentle_crops_keep_three_tenths_of_the_image_or_more(self):
        with mock.patch.object(geometry, "crop_and_resize", wraps=geometry.crop_and_resize) as crop:
            _make(tf.zeros([500, 100, 100, 3]), _seeds(500), "gentle")
        areas = np.concatenate([call.args[1][:, 2] * call.args[1][:, 3] for call in crop.call_args_list]) / 1e4
        self.assertAllInRange(areas, 0.29, 1.0)
        self.assertLess(areas.min(), 0.32)
        self.assertGreater(areas.max(), 0.9)

    def test_the_other_recipes_are_imagenet_with_less(self):
        unblurred = dataclasses.replace(recipes.IMAGENET, blur_probability=(0.0, 0.0))
        self.assertEqual(recipes.CIFAR, unblurred)
        gentle = dataclasses.replace(unblurred, crop_area=(0.3, 1.0), solarize_probability=(0.0, 0.0))
        self.assertEqual(recipes.GENTLE, gentle)
        self.assertEqual(
            (recipes.GREY.hue, recipes.GREY.saturation, recipes.GREY.grayscale_probability), (0.0, 0.0, 0.0)
        )
        self.assertEqual((recipes.GREY.blur_probability, recipes.GREY.solarize_probability), ((0.0, 0.0), (0.0, 0.0)))


class WeakAndStrongTest(tf.test.TestCase, parameterized.TestCase):
    def test_even_views_are_the_image_shifted_by_up_to_an_eighth_and_filled_by_reflection(self):
        images = _images(300, 24, 24)
        made = _make(images, _seeds(300), "randaugment_digits", large_size=24, small_views=0)["large"][0]
        padded = np.pad(images, [(0, 0), (3, 3), (3, 3), (0, 0)], mode="reflect")
        offsets = set()
        for view, image in zip(made.numpy(), padded, strict=True):
            errors = {
                (row, column): np.abs(view - image[row : row + 24, column : column + 24]).max()
                for row, column in itertools.product(range(7), repeat=2)
            }
            nearest = min(errors, key=errors.get)
            self.assertLess(errors[nearest], 2e-6)
            offsets.add(nearest)
        self.assertLen(offsets, 49)

    @parameterized.parameters(("randaugment", 0.5), ("randaugment_digits", 0.0))
    def test_flips_are_left_to_right_and_not_for_digits(self, recipe, share):
        ramp = tf.tile(tf.linspace(0.0, 1.0, 16)[tf.newaxis, tf.newaxis, :, tf.newaxis], [400, 16, 1, 3])
        made = _make(ramp, _seeds(400), recipe, large_size=16, small_views=0)["large"][0].numpy()
        self.assertAllClose(made[:, 0], made[:, 8])
        self.assertAllClose((made[:, 0, 4, 0] > made[:, 0, 12, 0]).mean(), share, rtol=0, atol=0.1)

    def test_odd_views_are_augmented_strongly_and_the_recipe_says_so(self):
        with mock.patch.object(recipes.randaugment, "augment", wraps=recipes.randaugment.augment) as augment:
            _make(_images(3), _seeds(3), "randaugment", large_views=2, small_views=3)
        chosen = [call.args[2].numpy().reshape(-1, 3) for call in augment.call_args_list]
        self.assertAllEqual(chosen[0], [[False] * 3, [True] * 3])
        self.assertAllEqual(chosen[1], [[False] * 3, [True] * 3, [False] * 3])
        named = {name for name, recipe in recipes.RECIPES.items() if recipe.weak_and_strong}
        self.assertEqual(named, {"randaugment", "randaugment_digits"})
        self.assertEqual(dataclasses.asdict(recipes.WeakAndStrong()), {"shift": 1 / 8, "flip_probability": 0.5})

    def test_it_crops_boxes_and_so_suits_pictures_of_any_size(self):
        boxes, _ = recipes.boxes_of("randaugment")(_seeds(2), 9, 7)
        self.assertAllEqual(boxes, [[0, 0, 9, 7]] * 2)


class DigitsTest(tf.test.TestCase, parameterized.TestCase):
    def test_nothing_chosen_returns_the_image(self):
        images = _images(5, 8, 8, 1)
        self.assertAllClose(_digits(images), images, rtol=0, atol=1e-6)

    def test_no_view_is_mirrored_or_upside_down(self):
        settings = dataclasses.asdict(recipes.Digits()) | {"noise": 0.0}
        ramp = tf.tile(tf.linspace(0.0, 1.0, 8)[tf.newaxis, tf.newaxis, :, tf.newaxis], [1000, 8, 1, 1])
        across = (
            _digits(ramp, **settings).numpy()[:, 2:6].mean((1, 3))
        )  # away from the black that moves in at the borders
        down = _digits(tf.transpose(ramp, [0, 2, 1, 3]), **settings).numpy()[:, :, 2:6].mean((2, 3))
        for brightness in (across, down):
            self.assertAllGreater(brightness[:, 4:6].mean(1) - brightness[:, 2:4].mean(1), 0.05)

    def test_shifts_are_uniform_up_to_about_a_pixel_of_eight_in_both_directions(self):
        dot = np.zeros([1500, 8, 8, 1], np.float32)
        dot[:, 4, 4] = 1.0
        moved = _digits(tf.constant(dot), shift=recipes.Digits().shift).numpy()[..., 0]
        across, down = moved.sum(1) @ np.arange(8) - 4, moved.sum(2) @ np.arange(8) - 4
        for shifts in (across, down):
            self.assertLess(_largest_gap(shifts, -1.2, 1.2), 1.95 / math.sqrt(1500))
        self.assertLess(np.abs(np.corrcoef(across, down)[0, 1]), 4 / math.sqrt(1500))

    def test_other_moves_are_uniform_over_their_ranges(self):
        with mock.patch.object(geometry, "affine_matrices", wraps=geometry.affine_matrices) as matrices:
            _make(_images(1500, 2, 2, 1), _seeds(1500), "digits", large_views=1, small_views=0)
        moves = {name: value.numpy() for name, value in matrices.call_args.kwargs.items()}
        turn = math.radians(20.0)
        for name, low, high in (("zoom", 0.8, 1.2), ("rotation", -turn, turn), ("shear", -0.25, 0.25)):
            self.assertLess(_largest_gap(moves[name], low, high), 1.95 / math.sqrt(1500))

    def test_light_and_noise_have_their_strengths(self):
        flat = tf.fill([1500, 8, 8, 1], 0.5)
        scaled = _digits(flat, contrast=recipes.Digits().contrast)[:, 0, 0, 0].numpy()
        lifted = _digits(flat, brightness=recipes.Digits().brightness)[:, 0, 0, 0].numpy()
        noisy = _digits(flat, noise=recipes.Digits().noise).numpy()
        self.assertLess(_largest_gap(scaled / 0.5, 0.6, 1.4), 1.95 / math.sqrt(1500))
        self.assertLess(_largest_gap(lifted - 0.5, -0.1, 0.1), 1.95 / math.sqrt(1500))
        self.assertAllClose(noisy.mean((0, 1, 2, 3)), 0.5, rtol=0, atol=0.002)
        self.assertAllClose(noisy.std(axis=(1, 2, 3)).mean(), 0.1, rtol=0, atol=0.002)

    def test_contrast_brightness_and_noise_are_independent(self):
        halves = tf.constant(
            np.broadcast_to(np.repeat([[0.4], [0.6]], 4, axis=0)[..., None], (1500, 8, 1, 1)), tf.float32
        )
        halves = tf.tile(halves, [1, 1, 8, 1])
        dark, light = (_digits(halves, contrast=0.2, brightness=0.1)[:, row, 0, 0].numpy() for row in (0, -1))
        contrast = (light - dark) / 0.2 - 1
        brightness = dark - 0.4 * (1 + contrast)
        noise = _digits(halves, noise=0.1).numpy()[:, 0, :2, 0]
        measured = np.corrcoef([contrast, brightness, *noise.T])
        # Of 1,500 pairs of independent numbers: mean 0, standard deviation 0.026; five of those either side.
        self.assertLess(np.abs(measured - np.eye(4)).max(), 0.13)
        self.assertAllClose(np.ptp(contrast), 0.4, atol=0.01)
        self.assertAllClose(np.ptp(brightness), 0.2, atol=0.01)


if __name__ == "__main__":
    tf.test.main()
