"""Tests of semppl.data.views.making: the second stage of the views, wherever it runs."""

import collections
import inspect
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.views import ViewSettings
from semppl.data.views import randomness, recipes
from semppl.data.views.crops import crop_views
from semppl.data.views.making import finish_views, make_views
from semppl.tests.data.pictures import smooth_picture as _picture

_VIEWS = {"large_views": 3, "small_views": 2, "large_size": 20, "small_size": 10}


def _numbered():
    """A recipe whose first channel shows the random number of the crop, and whose second that of the finish."""

    def show(images, seeds, channel):
        numbers = randomness.uniform(seeds, f"stage {channel}")[:, None, None, None]
        return tf.where(tf.range(2) == channel, numbers, images)

    return recipes.Recipe(
        crop=lambda images, seeds, size: show(images[:, :size, :size], seeds, 0),
        finish=lambda crops, seeds, views: show(crops, seeds, 1),
    )


class ViewSeedsTest(tf.test.TestCase):
    def test_every_view_large_or_small_has_random_numbers_of_its_own(self):
        seeds = tf.constant([[1, 2], [1, 3], [7, 2]])
        settings = ViewSettings(recipe="numbered", large_views=2, small_views=3, large_size=8, small_size=8)
        with mock.patch.dict(recipes.RECIPES, numbered=_numbered()):
            made = make_views(tf.zeros([3, 8, 8, 2]), settings, seed=seeds)
        shown = np.concatenate([made["large"], made["small"]])[:, :, 0, 0]  # [V,B,2]
        for view in range(5):
            of_view = randomness.split(seeds, 5)[view]
            for channel in range(2):
                self.assertAllEqual(shown[view, :, channel], randomness.uniform(of_view, f"stage {channel}"))
        self.assertLen(np.unique(shown), shown.size)

    def test_every_view_large_or_small_is_finished_with_its_number(self):
        recipe = recipes.Recipe(
            crop=lambda images, seeds, size: images[:, :size, :size],
            finish=lambda crops, seeds, views: crops + tf.cast(views, tf.float32)[:, None, None, None],
        )
        for large, small in ((2, 3), (1, 1), (3, 0)):
            settings = ViewSettings(recipe="numbered", large_views=large, small_views=small, large_size=8, small_size=8)
            with mock.patch.dict(recipes.RECIPES, numbered=recipe):
                made = make_views(tf.zeros([2, 8, 8, 3]), settings, seed=tf.constant([[1, 2], [1, 3]]))
            numbers = np.concatenate([made["large"], made["small"]])[:, :, 0, 0, 0]  # [V,B]
            self.assertAllEqual(numbers, [[view, view] for view in range(large + small)])


class PurposesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*recipes.RECIPES)
    def test_no_two_draws_of_a_view_share_a_stream(self, recipe):
        purposes = collections.defaultdict(set)

        def watch(function):
            def watched(seeds, purpose, shape=()):
                caller = inspect.stack()[1]
                purposes[purpose].add((pathlib.Path(caller.filename).name, caller.lineno))
                return function(seeds, purpose, shape)

            return watched

        settings = ViewSettings(recipe=recipe, large_views=2, small_views=2, large_size=8, small_size=8)
        images, masks = tf.zeros([2, 9, 9, 3]), tf.ones([2, 9, 9], tf.uint8)
        with (
            mock.patch.object(randomness, "uniform", watch(randomness.uniform)),
            mock.patch.object(randomness, "normal", watch(randomness.normal)),
        ):
            make_views(images, settings, seed=tf.constant([[1, 2], [3, 4]]), masks=masks)
        self.assertIn("mask", purposes)
        for purpose, places in purposes.items():
            self.assertLen(places, 1, f"{purpose} is drawn in several places: {places}")


class StagesTest(tf.test.TestCase, parameterized.TestCase):
    """The second stage of the views, wherever it runs."""

    @parameterized.product(recipe=sorted(recipes.RECIPES), small_views=(0, 2))
    def test_crops_that_are_finished_later_give_the_same_views(self, recipe, small_views):
        images = tf.constant(np.stack([_picture(24, 24, seed=i) for i in range(5)]))
        seed = tf.stack([tf.range(5), tf.range(5) + 9], 1)
        settings = ViewSettings(recipe=recipe, **_VIEWS | {"small_views": small_views})
        whole = make_views(images, settings, seed=seed)
        crops = crop_views(images, settings, seed=seed)
        batch = crops | {"seeds": seed, "labels": tf.range(5)}
        for finish in (finish_views, tf.function(finish_views, jit_compile=True)):
            finished = finish(batch, recipe=recipe)
            self.assertEqual(set(finished), {"large", "small", "labels"})
            self.assertAllEqual(finished["labels"], tf.range(5))
            for name in ("large", "small"):
                self.assertEqual(finished[name].shape, whole[name].shape)
                self.assertAllClose(finished[name], whole[name], rtol=0, atol=2e-5)
        if recipe != "identity":
            self.assertGreater(np.abs(crops["large"] - whole["large"]).max(), 0.01)

    def test_a_finished_batch_is_left_alone(self):
        batch = {"large": tf.random.stateless_uniform([2, 3, 8, 8, 3], [0, 0]), "labels": tf.range(3)}
        self.assertIs(finish_views(batch, recipe="imagenet"), batch)

    def test_an_images_finish_does_not_depend_on_its_neighbours(self):
        crops = {
            name: tf.random.stateless_uniform([2, 6, 8, 8, 3], [0, i]) for i, name in enumerate(("large", "small"))
        }
        seed, rows = tf.stack([tf.range(6), tf.range(6)], 1), [4, 1]
        whole = finish_views(crops | {"seeds": seed}, recipe="imagenet")
        few = {name: tf.gather(value, rows, axis=1) for name, value in crops.items()}
        part = finish_views(few | {"seeds": tf.gather(seed, rows)}, recipe="imagenet")
        for name in crops:
            self.assertAllClose(part[name], tf.gather(whole[name], rows, axis=1), rtol=0, atol=1e-5)


if __name__ == "__main__":
    tf.test.main()
