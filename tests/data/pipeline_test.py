"""Tests of semppl.data.pipeline."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL, ImageSet
from semppl.data.pipeline import Pipeline, epochs_of

_NUM_IMAGES = 23
_LABELLED = (2, 3, 11, 17, 20)


def _image_set(masks=None):
    """Images of 8×8 noise in three classes; of some nobody knows the class."""
    images = np.random.default_rng(0).uniform(0, 1, (_NUM_IMAGES, 8, 8, 1)).astype(np.float32)
    truth = (np.arange(_NUM_IMAGES) % 3).astype(np.int32)
    truth[[4, 8, 12]] = NO_LABEL
    return ImageSet(images, truth, (), masks)


def _pipeline(image_set=None, labelled=_LABELLED, **changes):
    image_set = image_set or _image_set()
    labels = np.full(_NUM_IMAGES, NO_LABEL, np.int32)
    labels[list(labelled)] = image_set.labels[list(labelled)]
    settings = {
        "labels_per_class": 1,
        "recipe": "identity",
        "large_views": 1,
        "small_views": 0,
        "large_size": 8,
        "small_size": 8,
        "pixel_mean": (0.5,),
        "pixel_stddev": (0.5,),
        "batch_size": 16,
        "labelled_batch_size": 4,
        "queue_size": 64,
        "steps": 40,
        "warmup_steps": 0,
        **changes,
    }
    return Pipeline(image_set, labels, Hyperparameters(**settings))


def _batches(pipeline, *, first_step=0, count=-1, **sharing):
    return list(pipeline.batches(first_step=first_step, **sharing).take(count).as_numpy_iterator())


def _ids(batches, rows):
    return np.concatenate([batch["groups"][rows] for batch in batches])


def _global_batch(shares, num_labelled):
    """Joins the replicas' shares: labelled rows first, both parts in the order of the replicas."""
    batch = {}
    for name in shares[0]:
        axis = 1 if name in ("large", "small") else 0
        halves = [np.split(share[name], [num_labelled], axis) for share in shares]
        batch[name] = np.concatenate([*(half[0] for half in halves), *(half[1] for half in halves)], axis)
    return batch


class BatchTest(tf.test.TestCase, parameterized.TestCase):
    def test_images_that_show_the_same_thing_get_one_id(self):
        groups = np.arange(_NUM_IMAGES, dtype=np.int64)
        groups[[5, 11, 20]] = 2
        plain = _image_set()
        grouped = _pipeline(dataclasses.replace(plain, groups=groups))
        for batch, other in zip(_batches(grouped, count=4), _batches(_pipeline(plain), count=4), strict=True):
            np.testing.assert_array_equal(batch["groups"], groups[other["groups"]])
            for name in ("large", "labels", "truth"):
                np.testing.assert_array_equal(batch[name], other[name])

    def test_labelled_rows_come_first_and_carry_their_labels(self):
        for batch in _batches(_pipeline(), count=5):
            self.assertContainsSubset(batch["groups"][:4], _LABELLED)
            self.assertNoCommonElements(batch["groups"][4:], _LABELLED)
            np.testing.assert_array_equal(batch["labels"][:4], batch["groups"][:4] % 3)
            np.testing.assert_array_equal(batch["labels"][4:], [NO_LABEL] * 12)

    def test_truth_is_told_for_every_row(self):
        image_set = _image_set()
        for batch in _batches(_pipeline(image_set), count=3):
            np.testing.assert_array_equal(batch["truth"], image_set.labels[batch["groups"]])
            self.assertNotAllEqual(batch["truth"][4:], [NO_LABEL] * 12)

    def test_views_are_of_the_image_that_the_id_names(self):
        image_set = _image_set()
        for batch in _batches(_pipeline(image_set, large_views=2), count=3):
            self.assertAllClose(batch["large"][0], image_set.images[batch["groups"]], atol=1e-6)
            self.assertAllClose(batch["large"][1], image_set.images[batch["groups"]], atol=1e-6)

    def test_shapes_and_types_are_static(self):
        pipeline = _pipeline(large_views=3, small_views=2, large_size=12)
        shapes = {
            "large": ([3, 8, 12, 12, 1], tf.float32),
            "small": ([2, 8, 8, 8, 1], tf.float32),
            "labels": ([8], tf.int32),
            "truth": ([8], tf.int32),
            "groups": ([8], tf.int64),
        }
        dataset = pipeline.batches(first_step=0, num_replicas=2, replicas=(0, 1))
        specs = {name: (spec.shape.as_list(), spec.dtype) for name, spec in dataset.element_spec.items()}
        self.assertEqual(specs, shapes)
        batch = next(dataset.as_numpy_iterator())
        self.assertEqual(
            {name: list(value.shape) for name, value in batch.items()}, {n: s for n, (s, _) in shapes.items()}
        )

    def test_where_all_rows_are_labelled_no_other_image_is_seen(self):
        batches = _batches(_pipeline(labelled_batch_size=16), count=4)
        self.assertEqual(set(_ids(batches, slice(None))), set(_LABELLED))
        self.assertTrue(all((batch["labels"] != NO_LABEL).all() for batch in batches))

    def test_where_every_image_is_labelled_there_is_one_stream(self):
        image_set = ImageSet(_image_set().images, np.zeros(_NUM_IMAGES, np.int32))
        pipeline = _pipeline(image_set, labelled=range(_NUM_IMAGES), labelled_batch_size=16)
        self.assertCountEqual(_ids(_batches(pipeline), slice(None))[:_NUM_IMAGES], range(_NUM_IMAGES))

    def test_masks_go_with_their_images(self):
        masks = np.zeros((_NUM_IMAGES, 8, 8), np.uint8)
        masks[::2] = 255
        for batch in _batches(_pipeline(_image_set(masks), mask_probability=1.0), count=3):
            for index, view in zip(batch["groups"], batch["large"][0], strict=True):
                expected = 0.5 if index % 2 else _image_set().images[index]
                self.assertAllClose(view, np.broadcast_to(expected, view.shape), atol=1e-6)

    def test_an_image_twice_in_a_batch_is_augmented_differently(self):
        (batch,) = _batches(_pipeline(recipe="digits", labelled=(2, 3)), count=1)
        twins = np.flatnonzero(batch["groups"][:4] == 2)
        self.assertLen(twins, 2)
        self.assertGreater(np.abs(batch["large"][0, twins[0]] - batch["large"][0, twins[1]]).max(), 0.05)

    def test_an_image_is_augmented_differently_every_time(self):
        batches = _batches(_pipeline(recipe="digits", large_views=2, labelled=(2,)), count=5)
        views = np.concatenate([batch["large"][:, :4].reshape(-1, 64) for batch in batches])  # 40 views of one image
        distances = np.abs(views[:, None] - views[None]).max(-1) + np.eye(len(views))
        self.assertGreater(distances.min(), 0.05)

    def test_the_two_streams_draw_different_augmentations(self):
        twins = ImageSet(np.tile(_image_set().images[:1], [_NUM_IMAGES, 1, 1, 1]), _image_set().labels)
        (batch,) = _batches(_pipeline(twins, recipe="digits"), count=1)
        views = batch["large"][0].reshape(16, -1)
        distances = np.abs(views[:, None] - views[None]).max(-1) + np.eye(16)
        self.assertGreater(distances.min(), 0.05)


class EpochsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((slice(0, 4), _LABELLED), (slice(4, 16), sorted({*range(_NUM_IMAGES)} - {*_LABELLED})))
    def test_every_epoch_visits_each_image_exactly_once_in_a_new_order(self, rows, members):
        groups = _ids(_batches(_pipeline()), rows)
        epochs = [tuple(groups[i : i + len(members)]) for i in range(0, len(groups) - len(members) + 1, len(members))]
        self.assertGreater(len(epochs), 20)
        for epoch in epochs:
            self.assertCountEqual(epoch, members)
        self.assertGreater(len(set(epochs)), 0.7 * min(len(epochs), 120))

    @parameterized.parameters(2, 4)
    def test_workers_together_read_each_image_once_an_epoch(self, num_workers):
        replicas = np.split(np.arange(4), num_workers)
        labelled = (0, 1, 2, 3, 5, 6, 7)
        members = sorted({*range(_NUM_IMAGES)} - {*labelled})  # 16 unlabelled images: two steps of 8 see them all
        pipeline = _pipeline(labelled=labelled, batch_size=12, labelled_batch_size=4)
        of_worker = [_batches(pipeline, num_replicas=4, replicas=own, count=2 * len(own)) for own in replicas]
        read = [_ids(batches, slice(1, None)) for batches in of_worker]
        self.assertCountEqual(np.concatenate(read), members)
        self.assertEqual({len(groups) for groups in read}, {16 // num_workers})

    def test_orders_are_uniform(self):
        orders = np.array(list(epochs_of(np.arange(3), first=0, seed=1).take(3 * 1200).as_numpy_iterator())).reshape(
            -1, 3
        )
        _, counts = np.unique(orders @ [9, 3, 1], return_counts=True)
        # Binomial(1200, 1/6): mean 200, standard deviation 12.9; five of those either side.
        self.assertLen(counts, 6)
        self.assertBetween(counts.min(), 136, 264)
        self.assertBetween(counts.max(), 136, 264)

    @parameterized.parameters(0, 1, 6, 7, 8, 20, 21, 700)
    def test_an_order_can_be_entered_anywhere(self, first):
        members = np.array([3, 1, 4, 15, 9, 2, 6])
        whole = list(epochs_of(members, first=0, seed=5).take(first + 30).as_numpy_iterator())
        entered = list(epochs_of(members, first=first, seed=5).take(30).as_numpy_iterator())
        self.assertEqual(entered, whole[first:])

    def test_far_steps_are_reached_at_once(self):
        members = np.arange(7)
        first = 7 * 10**12
        groups = list(epochs_of(members, first=first + 3, seed=5).take(11).as_numpy_iterator())
        self.assertCountEqual(groups[4:], members)

    def test_one_image_is_visited_again_and_again(self):
        self.assertEqual(list(epochs_of(np.array([8]), first=3, seed=0).take(4).as_numpy_iterator()), [8] * 4)


class ClassBalanceTest(tf.test.TestCase, parameterized.TestCase):
    _RARE = (0, 1, 3, 6, 9, 13)  # classes 0, 1, 0, 0, 0, 1

    def test_labelled_rows_hold_every_class_equally_often(self):
        batches = _batches(_pipeline(labelled=self._RARE, class_balance=True))
        plain = _batches(_pipeline(labelled=self._RARE))
        labels = np.concatenate([batch["labels"][:4] for batch in batches])
        self.assertEqual(np.bincount(labels).tolist(), [80, 80])
        for batch, other in zip(batches, plain, strict=True):
            self.assertEqual(np.bincount(batch["labels"][:4]).tolist(), [2, 2])
            np.testing.assert_array_equal(batch["groups"][4:], other["groups"][4:])  # unlabelled rows know no class

    def test_balanced_batches_start_at_any_step_and_are_shared_by_any_number_of_replicas(self):
        pipeline = _pipeline(labelled=self._RARE, class_balance=True, steps=14)
        whole = _batches(pipeline)
        for first_step in (1, 7, 13):
            np.testing.assert_array_equal(
                _ids(_batches(pipeline, first_step=first_step), slice(None)), _ids(whole[first_step:], slice(None))
            )
        shares = _batches(pipeline, num_replicas=2, replicas=(0, 1))
        for number, batch in enumerate(whole):
            np.testing.assert_array_equal(
                _global_batch(shares[2 * number : 2 * number + 2], 2)["groups"], batch["groups"]
            )


class PureFunctionTest(tf.test.TestCase, parameterized.TestCase):
    """A batch follows from the seed and the step."""

    def assertSameBatches(self, batches, others):
        self.assertLen(batches, len(others))
        for batch, other in zip(batches, others, strict=True):
            for name in ("large", "small", "labels", "truth", "groups"):
                np.testing.assert_array_equal(batch[name], other[name])

    def test_a_run_can_start_at_any_step(self):
        pipeline = _pipeline(recipe="digits", small_views=1, steps=14)
        whole = _batches(pipeline)
        for first_step in (1, 5, 13):
            self.assertSameBatches(_batches(pipeline, first_step=first_step), whole[first_step:])

    def test_compiled_views_are_as_pure(self):
        sizes = {"recipe": "digits", "steps": 500, "batch_size": 32, "labelled_batch_size": 8}
        whole = _batches(_pipeline(**sizes), first_step=3, count=4)
        self.assertSameBatches(_batches(_pipeline(**sizes), first_step=5, count=2), whole[2:])
        (plain,) = _batches(_pipeline(**{**sizes, "steps": 499}), first_step=3, count=1)
        self.assertAllClose(plain["large"], whole[0]["large"], rtol=0, atol=5e-6)
        self.assertNotAllEqual(plain["large"], whole[0]["large"])  # else nothing was compiled

    def test_the_run_ends_after_its_last_step(self):
        pipeline = _pipeline(steps=14)
        self.assertLen(_batches(pipeline), 14)
        self.assertLen(_batches(pipeline, first_step=9), 5)
        self.assertLen(_batches(pipeline, first_step=9, num_replicas=2, replicas=(0, 1)), 10)
        self.assertLen(_batches(pipeline, first_step=9, num_replicas=2, replicas=(1,)), 5)
        self.assertEmpty(_batches(pipeline, first_step=14))

    def test_any_number_of_replicas_shares_the_same_global_batches(self):
        # Vector instructions take 16 numbers at a time; the rest of a row is rounded otherwise, in the last bit.
        sizes = {"batch_size": 64, "labelled_batch_size": 16}
        pipeline = _pipeline(recipe="digits", small_views=1, steps=6, **sizes)
        whole = _batches(pipeline, first_step=3)
        for count in (2, 4):
            shares = _batches(pipeline, first_step=3, num_replicas=count, replicas=range(count))
            groups = [shares[i : i + count] for i in range(0, len(shares), count)]
            self.assertSameBatches([_global_batch(parts, 16 // count) for parts in groups], whole)

    def test_uneven_shares_differ_by_rounding_only(self):
        pipeline = _pipeline(recipe="digits", steps=2)
        whole = _batches(pipeline)
        shares = _batches(pipeline, num_replicas=4, replicas=range(4))
        for parts, batch in zip((shares[:4], shares[4:]), whole, strict=True):
            joined = _global_batch(parts, 1)
            np.testing.assert_array_equal(joined["groups"], batch["groups"])
            self.assertAllClose(joined["large"], batch["large"], rtol=0, atol=2e-6)

    def test_a_worker_gets_the_shares_of_its_own_replicas(self):
        pipeline = _pipeline(steps=5)
        shares = _batches(pipeline, num_replicas=4, replicas=range(4))
        for worker, replicas in enumerate(((0, 1), (2, 3))):
            own = [share for turn, share in enumerate(shares) if turn % 4 // 2 == worker]
            self.assertSameBatches(_batches(pipeline, num_replicas=4, replicas=replicas), own)

    def test_another_seed_gives_other_orders_and_other_views(self):
        images = _image_set()
        alike = ImageSet(np.tile(images.images[:1], [_NUM_IMAGES, 1, 1, 1]), images.labels)
        (one,), (two,) = (_batches(_pipeline(alike, recipe="digits", seed=seed), count=1) for seed in (1, 2))
        self.assertNotAllEqual(one["groups"], two["groups"])
        self.assertNotAllEqual(one["groups"][:4], two["groups"][:4])
        self.assertGreater(np.abs(one["large"] - two["large"]).max((0, 2, 3, 4)).min(), 0.05)

    def test_no_stream_of_a_seed_is_a_stream_of_the_next(self):
        streams = {}
        for seed in (0, 1, 2):
            pipeline = _pipeline(labelled=range(12), labelled_batch_size=8, seed=seed)
            for stream in (0, 1):
                streams[seed, stream] = tuple(pipeline._seeds(stream, tf.range(3, dtype=tf.int64)).numpy().ravel())
        self.assertLen(set(streams.values()), 6)

    def test_the_largest_seed_works(self):
        self.assertLen(_batches(_pipeline(seed=2**32 - 1, steps=2)), 2)


if __name__ == "__main__":
    tf.test.main()
