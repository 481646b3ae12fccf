"""Tests of semppl.data.streaming, and of the pipeline's batches from pictures on disk."""

import dataclasses
import io
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data import pipeline
from semppl.data.files.lost_pictures import PictureLost
from semppl.data.pipeline import Pipeline
from semppl.data.sources import NO_LABEL, ImageSet
from semppl.data.streaming import StreamedImageSet
from semppl.data.views import crops as view_crops
from semppl.data.views.making import finish_views, make_views
from semppl.tests import testing
from semppl.tests.data.pictures import smooth_picture as _picture


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
            r"A mask must be as large as its image, \[6 9\] at position 1\. Received: \[9 6\]",
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
        cls.compiled = staticmethod(view_crops._plan)
        plain = tf.function(view_crops._plan.python_function, autograph=False)
        cls.plan = staticmethod(plain)  # compiling takes seconds

    def setUp(self):
        super().setUp()
        self.pixels = np.stack([_picture(18, 18, seed=i) for i in range(_NUM)])
        self.masks = (np.random.default_rng(5).uniform(size=(_NUM, 18, 18)) < 0.6).astype(np.uint8)
        self.enter_context(mock.patch.object(view_crops, "_plan", self.plan))
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
            mock.patch.object(view_crops, "_plan", plan),
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
            expected = make_views(
                tf.constant(pictures[number][np.newaxis]),
                made.hyperparameters.views,
                seed=tf.constant(seed[np.newaxis]),
            )
            one = {name: tf.constant(batch[name][:, row : row + 1]) for name in ("large", "small")}
            finished = finish_views(one | {"seeds": tf.constant(seed[np.newaxis])}, recipe="imagenet")
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

    @parameterized.parameters((2, 0, False), (4, 1, True))
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
            later = finish_views({name: tf.constant(crops[name]) for name in crops}, recipe="imagenet")
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
