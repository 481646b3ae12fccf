"""Tests of semppl.trainers.pretrained.cached_features, and of runs that train the heads alone."""

import collections
import contextlib
import dataclasses
import io
import json
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.files.cache import NotCached
from semppl.data.images import ImageSet
from semppl.data.views import making
from semppl.evaluation.features import preparation_of
from semppl.layers.networks import OnlineNetwork
from semppl.runs import checkpoints
from semppl.tests import testing, tiny
from semppl.trainers import pretrain
from semppl.trainers.pretrained import cached_features
from semppl.trainers.reports import callbacks
from semppl.trainers.run_options import RunOptions

_COUNT, _VIEWS = 10, 3


def _settings(**changes):
    heads = {"train": "heads", "small_views": 0, "cached_views": _VIEWS, "recipe": "digits"}
    return Hyperparameters(**tiny.settings(**heads | changes))


def _images(seed=0, masks=None):
    pixels = np.random.default_rng(seed).uniform(0, 1, (_COUNT, 12, 12, 1)).astype(np.float32)
    return ImageSet(pixels, np.arange(_COUNT, dtype=np.int32) % 3, masks=masks, groups=np.arange(_COUNT) + 100)


def _network(settings, seed=0):
    tf.keras.utils.set_random_seed(seed)
    network = OnlineNetwork(**settings.network, name="online")
    network.build([None, settings.large_size, settings.large_size, settings.channels])
    return network


class FeatureCacheTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self._folder = pathlib.Path(self.create_tempdir().full_path)
        self.enter_context(contextlib.redirect_stdout(io.StringIO()))
        self.enter_context(contextlib.redirect_stderr(io.StringIO()))

    def _cache(self, images=None, *, seed=0, **changes):
        settings = _settings(**changes)
        return cached_features.FeatureCache(images or _images(), settings, _network(settings, seed), self._folder)

    @parameterized.parameters(1, 3)
    def test_the_first_view_is_the_plain_one_and_the_others_are_the_recipes(self, cached_views):
        settings = _settings(cached_views=cached_views, large_views=1)
        network, images = _network(settings), _images()
        cached = cached_features.FeatureCache(images, settings, network, self._folder).load()
        self.assertEqual(cached.features.shape[:2], (_COUNT, cached_views))
        self.assertAllEqual(cached.labels, images.labels)
        self.assertAllEqual(cached.groups, images.groups)
        plain = network.encode(preparation_of(settings)(tf.constant(images.images)))
        self.assertAllClose(cached.features[:, 0], plain, rtol=1e-3, atol=1e-3)
        seeds = tf.constant([[-1, position] for position in range(_COUNT)], tf.int64)
        if cached_views > 1:
            random = dataclasses.replace(settings.views, large_views=cached_views - 1)
            made = making.make_views(tf.constant(images.images), random, seed=seeds)["large"]
            for view, of_view in enumerate(made, 1):
                self.assertAllClose(cached.features[:, view], network.encode(of_view), rtol=1e-3, atol=1e-3)

    def test_batches_that_do_not_divide_the_images_change_nothing(self):
        whole = np.array(self._cache().load().features)
        for path in self._folder.iterdir():
            path.unlink()
        with mock.patch.object(cached_features, "_MOST_IMAGES", 4 * _VIEWS):
            parts = np.array(self._cache().load().features)
        self.assertAllClose(parts, whole, rtol=1e-3, atol=1e-4)

    def test_masks_take_part(self):
        masks = np.zeros((_COUNT, 12, 12), np.uint8)
        bare = self._cache(_images(masks=masks), mask_probability=1.0).load().features
        whole = self._cache(mask_probability=1.0).load().features
        self.assertAllEqual(bare[:, 0], whole[:, 0])
        self.assertNotAllClose(bare[:, 1:], whole[:, 1:], atol=1e-2)

    def test_a_second_run_computes_nothing(self):
        first = np.array(self._cache().load().features)
        with mock.patch.object(cached_features.FeatureCache, "compute", side_effect=AssertionError):
            again = self._cache().load().features
        self.assertAllEqual(first, again)

    def test_other_images_weights_or_views_have_a_file_of_their_own(self):
        caches = [
            self._cache(),
            self._cache(_images(seed=1)),
            self._cache(seed=1),
            self._cache(recipe="identity"),
            self._cache(cached_views=4),
            self._cache(large_size=9),
            self._cache(pixel_mean=(0.25,)),
            self._cache(_images(masks=np.ones((_COUNT, 12, 12), np.uint8))),
        ]
        self.assertLen({cache._path for cache in caches}, len(caches))
        self.assertEqual(self._cache(steps=9, batch_size=32, negatives=2)._path, caches[0]._path)

    def test_a_killed_run_goes_on_behind_the_last_whole_batch(self):
        with mock.patch.object(cached_features, "_MOST_IMAGES", 2 * _VIEWS):
            whole = np.array(self._cache().load().features)
            (path,) = self._folder.glob("*.float16")
            a_row = whole[0].nbytes
            path.with_suffix(".part").write_bytes(path.read_bytes()[: 5 * a_row + 7])
            path.unlink()
            cache = self._cache()
            with mock.patch.object(cache, "compute", wraps=cache.compute) as computed:
                again = np.array(cache.load().features)
        computed.assert_called_once_with(4)  # behind the last whole batch
        self.assertAllEqual(again, whole)
        self.assertEmpty(list(self._folder.glob("*.part")))

    def test_a_disk_without_room_is_refused_before_anything_is_computed(self):
        usage = collections.namedtuple("usage", "free")
        cache = self._cache()
        with (
            mock.patch.object(cached_features.shutil, "disk_usage", return_value=usage(100)),
            mock.patch.object(OnlineNetwork, "encode", side_effect=AssertionError),
            self.assertRaisesRegex(
                NotCached,
                r"^--cache_dir must have room for the features, 0 MB\. Received: .*, with 0 MB free; make room, ",
            ),
        ):
            cache.load()

    def test_a_damaged_file_is_named(self):
        cache = self._cache()
        cache.load()
        cache._path.write_bytes(b"short")
        with self.assertRaisesRegex(
            NotCached, "^--cache_dir must hold whole files .*float16, which is damaged; remove the file$"
        ):
            cache.load()

    def test_features_that_are_not_finite_are_refused(self):
        settings = _settings()
        network = _network(settings)
        network.encoder.trainable = True
        network.encoder.weights[0].assign(network.encoder.weights[0] * 1e6)
        network.encoder.weights[-1].assign(tf.zeros_like(network.encoder.weights[-1]))  # a variance
        cache = cached_features.FeatureCache(_images(), settings, network, self._folder)
        with self.assertRaisesRegex(ValueError, "^--encoder must give features that are finite in float16. Received: "):
            cache.load()


class BatchTest(parameterized.TestCase):
    @parameterized.parameters((32, 256), (128, 256), (129, 252), (224, 83), (480, 18), (4096, 1))
    def test_fewer_large_views_pass_together(self, size, count):
        self.assertEqual(cached_features.views_at_a_time(size), count)


class StatisticsTest(tf.test.TestCase):
    def test_they_are_of_all_images_and_views(self):
        features = np.random.default_rng(0).normal(3, 2, (7, 4, 5)).astype(np.float16)
        with mock.patch.object(cached_features, "_VALUES_AT_A_TIME", 3 * 4 * 5):
            mean, stddev = cached_features.statistics(features)
        for feature in range(5):
            values = [float(features[i, v, feature]) for i in range(7) for v in range(4)]
            average = sum(values) / len(values)
            self.assertAllClose(mean[feature], average, rtol=1e-6)
            self.assertAllClose(
                stddev[feature], (sum((x - average) ** 2 for x in values) / len(values)) ** 0.5, rtol=1e-6
            )


class HeadsRunTest(tf.test.TestCase, parameterized.TestCase):
    def _train(self, workdir, **changes):
        settings = _settings(data="digits", labels_per_class=1, pixel_mean=(0.3,), learning_rate=0.8, **changes)
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()):
            pretrain.pretrain(settings, workdir, RunOptions(strategy="default", checkpoint_every=4, log_every=4))
        return printed.getvalue()

    @parameterized.parameters(({},), ({"method": "supervised", "labelled_batch_size": 16, "queue_size": 16},))
    def test_a_run_trains_the_heads_on_standardised_features_and_leaves_the_encoder_alone(self, changes):
        workdir = pathlib.Path(self.create_tempdir().full_path)
        printed = self._train(workdir, steps=8, **changes)
        self.assertIn("computing, once, features of 1,500 pictures, 3 views each, by convnet: ", printed)
        settings, network, step = checkpoints.load_online(workdir)
        self.assertEqual(step, 8)
        initial = pretrain.build_model(settings, 10, jit_compile=False).online
        for ours, theirs in zip(network.encoder.variables, initial.encoder.variables, strict=True):
            self.assertAllEqual(ours, theirs)
        (path,) = (workdir / "features").glob("*.float16")
        features = np.fromfile(path, np.float16).reshape(1500, _VIEWS, -1)
        mean, stddev = features.astype(np.float64).mean((0, 1)), features.astype(np.float64).std((0, 1))
        self.assertAllClose(network.scaling.mean, mean, rtol=1e-4, atol=1e-5)
        self.assertAllClose(network.scaling.stddev, np.where(stddev > 1e-6, stddev, 1), rtol=1e-4, atol=1e-5)
        if not changes:
            moved = network.projector.hidden.kernel - initial.projector.hidden.kernel
            self.assertGreater(np.abs(moved).max(), 1e-4)

    def test_a_stopped_run_goes_on_as_if_it_had_not_been(self):
        whole, parts = (pathlib.Path(self.create_tempdir().full_path) for _ in range(2))
        self._train(whole, steps=8)
        ends = callbacks.Checkpointing.on_train_batch_end

        def stopped(self, batch, logs):
            if batch == 5:
                raise KeyboardInterrupt
            ends(self, batch, logs)

        with (
            mock.patch.object(callbacks.Checkpointing, "on_train_batch_end", stopped),
            self.assertRaises(KeyboardInterrupt),
        ):
            self._train(parts, steps=8)
        self.assertTrue((parts / "checkpoints" / "step-4.index").exists())
        self._train(parts, steps=8)
        self.assertEqual(json.loads((whole / "done.json").read_text()), json.loads((parts / "done.json").read_text()))


class HeadsStepTest(tf.test.TestCase, parameterized.TestCase):
    def _batch(self, number, settings, width):
        batch = tiny.batch(number, dataclasses.asdict(settings))
        rng = np.random.default_rng(number)
        batch["large"] = rng.normal(0, 1, (settings.large_views, settings.batch_size, width)).astype(np.float32)
        batch["small"] = batch["large"][:0]
        return batch

    def test_online_and_target_share_one_encoder_that_nothing_trains(self):
        settings = _settings(steps=5)
        model = pretrain.build_model(settings, tiny.NUM_CLASSES, jit_compile=False)
        self.assertIs(model.online.encoder, model.target.encoder)
        encoder = {id(variable) for variable in model.online.encoder.variables}
        self.assertEmpty([v for v in model.trained_variables() if id(v) in encoder])
        self.assertLen(model.target.trainable_variables, len(model.online.projecting_variables))

    @parameterized.parameters("semppl", "supervised")
    def test_two_replicas_take_the_steps_of_one(self, method):
        settings = _settings(
            steps=5, method=method, **({"labelled_batch_size": 16, "queue_size": 16} if method == "supervised" else {})
        )
        ends = []
        for replicas in (1, 2):
            strategy = testing.replicas(replicas)
            with strategy.scope():
                model = pretrain.build_model(settings, tiny.NUM_CLASSES, jit_compile=False)
            width = model.online.encode(tf.zeros([1, 8, 8, 1])).shape[-1]
            model.scale_features(np.full(width, 0.25, np.float32), np.full(width, 0.5, np.float32))
            step = tf.function(lambda batch, model=model, strategy=strategy: strategy.run(model.train_step, (batch,)))
            for number in range(3):
                batch = self._batch(number, settings, width)
                step(tiny.distribute(batch, strategy, settings.labelled_batch_size))
            ends.append([variable.numpy() for variable in model.trained_variables()])
        for one, two in zip(*ends, strict=True):
            self.assertAllClose(one, two, rtol=1e-4, atol=1e-5)

    def test_features_of_images_are_those_of_precomputed_features(self):
        settings = _settings()
        network = _network(settings)
        images = tf.constant(_images().images[:, :8, :8])
        encoded = network.encode(images)
        network.features(encoded)  # builds the scaling
        network.scaling.fit(
            np.full(encoded.shape[-1], 0.5, np.float32), np.r_[np.full(encoded.shape[-1] - 1, 2.0), 0.0]
        )
        expected = (encoded.numpy() - 0.5) / np.r_[np.full(encoded.shape[-1] - 1, 2.0), 1.0]
        self.assertAllClose(network.features(images), expected, rtol=1e-5, atol=1e-6)
        self.assertAllEqual(network.features(encoded), network.features(images))
        self.assertAllClose(network.project(encoded), network.project(images), rtol=1e-5, atol=1e-6)
        self.assertAllEqual(network.encode(images, training=True), encoded)  # in inference mode


class SettingsTest(parameterized.TestCase):
    @parameterized.parameters(
        ({"train": "everything"}, "--train must be one of all, heads, nothing. Received: everything"),
        ({"train": "heads", "small_views": 1}, "--small_views must be 0 with --train=heads. Received: 1"),
        (
            {"train": "heads", "small_views": 0, "large_views": 3, "cached_views": 2},
            "--cached_views must be at least large_views = 3. Received: 2",
        ),
        ({"cached_views": 0}, "--cached_views must be 1 or more. Received: 0"),
    )
    def test_what_cannot_be_is_refused(self, changes, message):
        with self.assertRaises(ValueError) as caught:
            Hyperparameters(**tiny.settings(**changes))
        self.assertEqual(str(caught.exception), message)


if __name__ == "__main__":
    tf.test.main()
