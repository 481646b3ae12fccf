"""Tests of semppl.data.streaming, and of the pipeline's batches from pictures on disk."""

import dataclasses
import io
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.views import ViewSettings
from semppl.data import pipeline, streaming
from semppl.data.files.lost_pictures import PictureLost
from semppl.data.pipeline import Pipeline
from semppl.data.sources import NO_LABEL, ImageSet
from semppl.data.streaming import StreamedImageSet, crop_picture
from semppl.data.views import randomness, recipes
from semppl.tests import testing

_VIEWS = {"large_views": 3, "small_views": 2, "large_size": 20, "small_size": 10}
_BOX_RECIPES = ("cifar", "gentle", "grey", "identity", "imagenet")


def _picture(height, width, channels=3, seed=0):
    """Smooth colours with some noise."""
    rng = np.random.default_rng(seed)
    coarse = tf.image.resize(rng.uniform(0, 255, (4, 4, channels)), [height, width], "bicubic")
    return np.clip(coarse + rng.normal(0, 9, (height, width, channels)), 0, 255).astype(np.uint8)


def _png(pixels):
    return tf.io.encode_png(pixels).numpy()


def _streamed(pictures, labels=None, masks=None, encode=_png):
    """Pictures in memory that are read as if they stood on disk."""
    columns = {"image": tf.constant([encode(picture) for picture in pictures])}
    if masks is not None:
        columns["mask"] = tf.constant([_png(mask[..., np.newaxis]) for mask in masks])
    labels = np.zeros(len(pictures), np.int32) if labels is None else labels
    return StreamedImageSet(
        lambda groups: {name: tf.gather(column, groups) for name, column in columns.items()},
        pictures[0].shape[-1],
        labels,
    )


class CropPictureTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(recipe=_BOX_RECIPES, masked=(False, True))
    def test_a_pictures_crops_are_those_that_a_batch_of_it_gets(self, recipe, masked):
        for number, size in enumerate(((40, 60), (3, 7), (200, 11))):
            picture, seed = _picture(*size), tf.constant([7, number], tf.int64)
            mask = (np.random.default_rng(1).uniform(size=size) < 0.5).astype(np.uint8) if masked else None
            settings = ViewSettings(recipe=recipe, mask_probability=0.5, **_VIEWS)
            masks = None if mask is None else tf.constant(mask[np.newaxis])
            whole = recipes.crop_views(tf.constant(picture[np.newaxis]), settings, seed=seed[tf.newaxis], masks=masks)
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
        mirrored = 0
        for number in range(40):
            seed = tf.constant([3, number], tf.int64)
            made = crop_picture(tf.constant(picture), ViewSettings(recipe="imagenet", **_VIEWS), seed=seed)
            seeds = randomness.split(seed[tf.newaxis], 5)[:, 0]
            boxes, flips = recipes.RECIPES["imagenet"].boxes(seeds, 50, 70)
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


class StagesTest(tf.test.TestCase, parameterized.TestCase):
    """The second stage of the views, wherever it runs."""

    @parameterized.product(recipe=sorted(recipes.RECIPES), small_views=(0, 2))
    def test_crops_that_are_finished_later_give_the_same_views(self, recipe, small_views):
        images = tf.constant(np.stack([_picture(24, 24, seed=i) for i in range(5)]))
        seed = tf.stack([tf.range(5), tf.range(5) + 9], 1)
        settings = ViewSettings(recipe=recipe, **_VIEWS | {"small_views": small_views})
        whole = recipes.make_views(images, settings, seed=seed)
        crops = recipes.crop_views(images, settings, seed=seed)
        batch = crops | {"seeds": seed, "labels": tf.range(5)}
        for finish in (recipes.finish_views, tf.function(recipes.finish_views, jit_compile=True)):
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
        self.assertIs(recipes.finish_views(batch, recipe="imagenet"), batch)

    def test_an_images_finish_does_not_depend_on_its_neighbours(self):
        crops = {
            name: tf.random.stateless_uniform([2, 6, 8, 8, 3], [0, i]) for i, name in enumerate(("large", "small"))
        }
        seed, rows = tf.stack([tf.range(6), tf.range(6)], 1), [4, 1]
        whole = recipes.finish_views(crops | {"seeds": seed}, recipe="imagenet")
        few = {name: tf.gather(value, rows, axis=1) for name, value in crops.items()}
        part = recipes.finish_views(few | {"seeds": tf.gather(seed, rows)}, recipe="imagenet")
        for name in crops:
            self.assertAllClose(part[name], tf.gather(whole[name], rows, axis=1), rtol=0, atol=1e-5)


class StreamedImageSetTest(tf.test.TestCase, parameterized.TestCase):
    def test_pictures_of_many_sizes_come_in_order(self):
        pictures = [_picture(5 + i, 20 - i, seed=i) for i in range(12)]
        read = [batch[0] for batch in _streamed(pictures).batches(lambda picture: picture, batch_size=1)]
        for picture, one in zip(pictures, read, strict=True):
            self.assertAllEqual(one, picture)

    def test_some_can_be_asked_for_and_batches_have_one_size(self):
        pictures = [_picture(5 + i, 20 - i, seed=i) for i in range(12)]
        prepared = _streamed(pictures).batches(
            lambda picture: tf.image.resize(picture, [4, 4]), batch_size=2, positions=np.array([7, 0, 11])
        )
        batches = list(prepared)
        self.assertEqual([batch.shape for batch in batches], [(2, 4, 4, 3), (1, 4, 4, 3)])
        expected = [tf.image.resize(pictures[i], [4, 4]) for i in (7, 0, 11)]
        self.assertAllClose(tf.concat(batches, 0), expected)

    @parameterized.named_parameters(
        ("jpeg", lambda pixels: tf.io.encode_jpeg(pixels, quality=100).numpy()),
        ("grey_jpeg", lambda pixels: tf.io.encode_jpeg(pixels[..., :1], quality=100).numpy()),
        ("grey_png", lambda pixels: _png(pixels[..., :1])),
        ("png_with_alpha", lambda pixels: _png(np.concatenate([pixels, pixels[..., :1]], -1))),
    )
    def test_every_kind_is_decoded_to_the_sets_channels(self, encode):
        grey = np.repeat(_picture(16, 24, 1), 3, -1)
        (read,) = _streamed([grey], encode=encode).batches(lambda picture: picture, batch_size=1)
        self.assertEqual(read.shape, (1, 16, 24, 3))
        self.assertAllClose(tf.cast(read[0], tf.int32), grey.astype(np.int32), rtol=0, atol=1)

    def test_jpegs_are_decoded_as_the_standard_has_it(self):
        encoded = tf.io.encode_jpeg(_picture(60, 80), quality=80).numpy()
        expected = np.array(Image.open(io.BytesIO(encoded)))  # libjpeg's own default
        (read,) = _streamed([expected], encode=lambda pixels: encoded).batches(lambda picture: picture, batch_size=1)
        np.testing.assert_array_equal(read[0], expected)

    def test_a_mask_of_another_size_is_refused_with_both_sizes(self):
        images = _streamed([_picture(6, 9)] * 2, masks=[np.ones(size, np.uint8) for size in ((6, 9), (9, 6))])
        with self.assertRaisesRegex(
            tf.errors.InvalidArgumentError,
            r"A mask must be as large as its image, \[6 9\] for id 1\. Received: \[9 6\]",
        ):
            list(images.batches(lambda picture: picture, batch_size=1))

    def test_a_file_that_is_no_picture_stops_the_reading(self):
        images = _streamed([_picture(6, 9)], encode=lambda pixels: b"no picture")
        with self.assertRaisesRegex(PictureLost, "must stay as they are .* Received: one that DecodeImage refuses"):
            list(images.batches(lambda picture: picture, batch_size=1))


_NUM = 29
_SETTINGS = {
    "labels_per_class": 1,
    "recipe": "imagenet",
    "large_views": 2,
    "small_views": 1,
    "large_size": 16,
    "small_size": 10,
    "batch_size": 16,
    "labelled_batch_size": 4,
    "queue_size": 64,
    "steps": 12,
    "warmup_steps": 0,
}


class StreamedPipelineTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.compiled = staticmethod(streaming._plan)
        plain = tf.function(streaming._plan.python_function, autograph=False)
        cls.plan = staticmethod(plain)  # compiling takes seconds

    def setUp(self):
        super().setUp()
        self.pixels = np.stack([_picture(18, 18, seed=i) for i in range(_NUM)])
        self.masks = (np.random.default_rng(5).uniform(size=(_NUM, 18, 18)) < 0.6).astype(np.uint8)
        self.enterContext(mock.patch.object(streaming, "_plan", self.plan))
        self.truth = (np.arange(_NUM) % 3).astype(np.int32)
        self.labels = np.where(np.arange(_NUM) < 6, self.truth, NO_LABEL).astype(np.int32)

    def pipeline(self, images=None, **changes):
        images = images or _streamed(self.pixels, self.truth)
        return Pipeline(images, self.labels, Hyperparameters(**_SETTINGS | changes))

    def in_memory(self, masks=None, **changes):
        return self.pipeline(ImageSet(self.pixels, self.truth, masks=masks), **changes)

    def assertSame(self, batches, others, atol=0.0):
        self.assertLen(batches, len(others))
        for batch, other in zip(batches, others, strict=True):
            self.assertEqual(set(batch), set(other))
            for name in ("groups", "labels", "truth"):
                np.testing.assert_array_equal(batch[name], other[name])
            for name in ("large", "small"):
                self.assertAllClose(batch[name], other[name], rtol=0, atol=atol)

    @parameterized.parameters(("imagenet", 1), ("cifar", 10**6), ("identity", 10**6))
    def test_pictures_on_disk_give_the_batches_that_pictures_in_memory_give(self, recipe, worth_compiling):
        plan = self.compiled if worth_compiling == 1 else self.plan
        with (
            mock.patch.object(pipeline, "_WORTH_COMPILING", worth_compiling),
            mock.patch.object(streaming, "_plan", plan),
        ):
            streamed, whole = (_batches(p, 2) for p in (self.pipeline(recipe=recipe), self.in_memory(recipe=recipe)))
        # Strong contrasts and hues multiply the roundings of the crop.
        self.assertSame(streamed, whole, atol=1e-5)

    def test_masks_go_with_their_pictures(self):
        settings = {"mask_probability": 0.5, "recipe": "cifar"}
        masked = _batches(self.pipeline(_streamed(self.pixels, self.truth, self.masks), **settings), 2)
        self.assertSame(masked, _batches(self.in_memory(self.masks, **settings), 2), atol=1e-5)
        plain = _batches(self.pipeline(**settings), 2)
        self.assertGreater(np.abs(masked[0]["large"] - plain[0]["large"]).max(), 0.1)
        np.testing.assert_array_equal(masked[0]["small"], plain[0]["small"])

    def test_pictures_of_many_sizes_are_each_viewed_by_their_own_seed(self):
        pictures = [_picture(9 + i, 40 - i, seed=i) for i in range(_NUM)]
        made = dataclasses.replace(self.pipeline(_streamed(pictures, self.truth)), finish_on_device=True)
        (batch,) = _batches(made, 1)
        for row, (number, seed) in enumerate(zip(batch["groups"], batch["seeds"], strict=True)):
            expected = recipes.make_views(
                tf.constant(pictures[number][np.newaxis]),
                made.hyperparameters.views,
                seed=tf.constant(seed[np.newaxis]),
            )
            one = {name: tf.constant(batch[name][:, row : row + 1]) for name in ("large", "small")}
            finished = recipes.finish_views(one | {"seeds": tf.constant(seed[np.newaxis])}, recipe="imagenet")
            for name in ("large", "small"):
                self.assertAllClose(finished[name], expected[name], rtol=0, atol=2e-5)

    def test_a_run_can_start_at_any_step(self):
        made = self.pipeline(steps=6)
        whole = _batches(made)
        self.assertLen(whole, 6)
        for first_step in (1, 5):
            self.assertSame(_batches(made, first_step=first_step), whole[first_step:])
        self.assertEmpty(_batches(made, first_step=6))

    def test_any_number_of_replicas_shares_the_same_global_batches(self):
        made = self.pipeline(steps=2)
        shares = _batches(made, num_replicas=2, replicas=(0, 1))
        self.assertLen(shares, 4)
        for whole, (first, second) in zip(_batches(made), zip(shares[::2], shares[1::2], strict=True), strict=True):
            for name in whole:
                axis = 1 if name in ("large", "small") else 0
                parts = [np.split(share[name], [2], axis) for share in (first, second)]
                joined = np.concatenate([parts[0][0], parts[1][0], parts[0][1], parts[1][1]], axis)
                self.assertAllClose(joined, whole[name], rtol=0, atol=1e-5)

    @parameterized.parameters((1, 1, True), (2, 0, False), (2, 1, False), (4, 1, True))
    def test_any_number_of_input_shards_feeds_the_same_batches_also_after_a_resume(
        self, shards, first_step, class_balance
    ):
        # Four replicas, fed by one, two or four pipelines; what each replica gets in each step is the same to the last bit.
        made = self.pipeline(steps=2, class_balance=class_balance, recipe="cifar")
        expected = _batches(made, num_replicas=4, replicas=range(4))[4 * first_step :]
        fed = [
            _batches(made, first_step=first_step, num_replicas=4, replicas=replicas.tolist())
            for replicas in np.split(np.arange(4), shards)
        ]
        per_step = 4 // shards
        dealt = [
            batch
            for step in range(2 - first_step)
            for own in fed
            for batch in own[step * per_step : (step + 1) * per_step]
        ]
        self.assertSame(dealt, expected)

    @parameterized.parameters(1, 2, 7)
    def test_the_number_of_threads_changes_nothing(self, threads):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.autotune.enabled = threads != 2
        made = self.pipeline(steps=2, recipe="cifar")
        batches = list(made.batches(first_step=0).with_options(options).as_numpy_iterator())
        self.assertSame(batches, _batches(made))

    @parameterized.parameters(True, False)
    def test_crops_and_seeds_are_handed_on_where_the_device_finishes_views(self, streamed):
        finished = self.pipeline() if streamed else self.in_memory()
        left = dataclasses.replace(finished, finish_on_device=True)
        for batch, crops in zip(_batches(finished, 2), _batches(left, 2), strict=True):
            self.assertNotIn("seeds", batch)
            self.assertEqual((crops["seeds"].shape, crops["seeds"].dtype), ((16, 2), np.int64))
            self.assertGreater(np.abs(crops["large"] - batch["large"]).max(), 0.1)
            later = recipes.finish_views({name: tf.constant(crops[name]) for name in crops}, recipe="imagenet")
            self.assertSame([later], [batch], atol=1e-5)

    def test_shapes_are_static(self):
        for made in (self.pipeline(), self.in_memory()):
            for finish_on_device in (False, True):
                left = dataclasses.replace(made, finish_on_device=finish_on_device)
                specs = left.batches(first_step=0, num_replicas=2).element_spec
                shapes = {name: tuple(spec.shape) for name, spec in specs.items()}
                expected = {"large": (2, 8, 16, 16, 3), "small": (1, 8, 10, 10, 3)}
                expected |= dict.fromkeys(("groups", "labels", "truth"), (8,))
                self.assertEqual(shapes, expected | ({"seeds": (8, 2)} if finish_on_device else {}))

    def test_no_more_is_read_than_a_few_batches_need(self):
        images = _streamed([_picture(4, 4)])
        read = []

        def encoded(groups):
            counted = tf.numpy_function(lambda groups: read.append(len(groups)) or groups, [groups], tf.int64)
            return images.encoded(tf.ensure_shape(counted * 0, groups.shape))

        many = StreamedImageSet(encoded, 3, np.zeros(100_000, np.int32))
        labels = np.where(np.arange(100_000) < 500, 0, NO_LABEL).astype(np.int32)
        _batches(Pipeline(many, labels, Hyperparameters(**_SETTINGS | {"steps": 10_000})), 2)
        self.assertLess(sum(read), 2000)


def _batches(made, count=-1, *, first_step=0, **sharing):
    return list(made.batches(first_step=first_step, **sharing).take(count).as_numpy_iterator())


if __name__ == "__main__":
    assert testing
    tf.test.main()
