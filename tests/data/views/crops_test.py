"""Tests of semppl.data.views.crops: one picture is cropped like a batch."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.views import ViewSettings
from semppl.data.views import randomness, recipes
from semppl.data.views.crops import crop_picture, crop_views
from semppl.tests.data.pictures import smooth_picture as _picture

_VIEWS = {"large_views": 3, "small_views": 2, "large_size": 20, "small_size": 10}
_BOX_RECIPES = ("cifar", "gentle", "grey", "identity", "imagenet", "randaugment", "randaugment_digits")


class CropPictureTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(recipe=_BOX_RECIPES, masked=(False, True))
    def test_a_pictures_crops_are_those_that_a_batch_of_it_gets(self, recipe, masked):
        for number, size in enumerate(((40, 60), (3, 7), (200, 11))):
            picture, seed = _picture(*size), tf.constant([7, number], tf.int64)
            mask = (np.random.default_rng(1).uniform(size=size) < 0.5).astype(np.uint8) if masked else None
            settings = ViewSettings(recipe=recipe, mask_probability=0.5, **_VIEWS)
            masks = None if mask is None else tf.constant(mask[np.newaxis])
            whole = crop_views(tf.constant(picture[np.newaxis]), settings, seed=seed[tf.newaxis], masks=masks)
            one = crop_picture(tf.constant(picture), settings, seed=seed, mask=mask)
            for name in ("large", "small"):
                self.assertAllClose(one[name], whole[name][:, 0], rtol=0, atol=1e-5)

    def test_float_pictures_are_cropped_like_bytes(self):
        picture = _picture(31, 45)
        seed = tf.constant([7, 1], tf.int64)
        bytes_, floats = (
            crop_picture(tf.constant(pixels), ViewSettings(recipe="imagenet", **_VIEWS), seed=seed)
            for pixels in (picture, (picture / 255).astype(np.float32))
        )
        self.assertAllClose(bytes_["large"], floats["large"], rtol=0, atol=1e-6)

    def test_a_view_is_a_resized_box_and_half_of_them_are_mirrored(self):
        picture = _picture(50, 70)
        mirrored, settings = 0, ViewSettings(recipe="imagenet", **_VIEWS)
        draw = tf.function(lambda seeds: recipes.RECIPES["imagenet"].boxes(seeds, 50, 70), autograph=False)
        for number in range(40):
            seed = tf.constant([3, number], tf.int64)
            made = crop_picture(tf.constant(picture), settings, seed=seed)
            boxes, flips = draw(randomness.split(seed[tf.newaxis], 5)[:, 0])
            top, left, height, width = boxes[2].numpy().astype(int)
            cut = picture[top : top + height, left : left + width] / np.float32(255)
            expected = tf.clip_by_value(tf.image.resize(cut, [20, 20], "bicubic"), 0, 1).numpy()
            self.assertAllClose(made["large"][2], expected[:, ::-1] if flips[2] else expected, rtol=0, atol=1e-5)
            mirrored += int(flips[2])
        self.assertBetween(mirrored, 8, 32)  # binomial(40, 1/2) within four standard deviations

    def test_there_may_be_no_small_views(self):
        settings = ViewSettings(recipe="cifar", **_VIEWS | {"small_views": 0})
        made = crop_picture(tf.constant(_picture(9, 8)), settings, seed=tf.constant([0, 0]))
        self.assertEqual(made["small"].shape, (0, 10, 10, 3))

    def test_only_large_views_lose_their_background(self):
        picture, mask = tf.constant(_picture(30, 30)), tf.zeros([30, 30], tf.uint8)
        settings = ViewSettings(recipe="identity", mask_probability=1.0, **_VIEWS)
        made, plain = (crop_picture(picture, settings, seed=tf.constant([0, 0]), mask=m) for m in (mask, None))
        self.assertAllClose(made["large"], tf.fill([3, 20, 20, 3], 0.5), rtol=0, atol=1e-6)
        self.assertAllEqual(made["small"], plain["small"])

    def test_a_recipe_that_does_more_than_crop_is_refused(self):
        with self.assertRaises(ValueError) as caught:
            crop_picture(tf.constant(_picture(9, 8)), ViewSettings(recipe="digits", **_VIEWS), seed=tf.constant([0, 0]))
        able = ", ".join(_BOX_RECIPES)
        self.assertEqual(
            str(caught.exception), f"--recipe must be one of {able}, for pictures of many sizes. Received: digits"
        )


if __name__ == "__main__":
    tf.test.main()
