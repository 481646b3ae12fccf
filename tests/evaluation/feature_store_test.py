"""Tests of semppl.evaluation.feature_store."""

import dataclasses
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import ImageSet
from semppl.data.streaming import StreamedImageSet
from semppl.evaluation import feature_store
from semppl.evaluation.feature_store import FeatureStore, SharedFeatureStore
from semppl.tests import testing, tiny  # noqa: F401  (marks the flags as parsed)


def _images(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (6, 4, 4, 1)).astype(np.uint8)


def _in_memory(images):
    return ImageSet(images, np.zeros(len(images), np.int32))


def _on_disk(images):
    files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
    return StreamedImageSet(lambda at: {"image": tf.gather(files, at)}, 1, np.zeros(len(images), np.int32), ())


class FeatureStoreTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.calls = 0
        self.workdir = pathlib.Path(self.create_tempdir().full_path)
        (self.workdir / "hyperparameters.json").write_text("{}", encoding="utf-8")
        self._save(1.0)

    def _save(self, weight):
        checkpoint = tf.train.Checkpoint(weight=tf.Variable(weight))
        tf.train.CheckpointManager(checkpoint, str(self.workdir / "checkpoints"), 1, checkpoint_name="step").save(5)

    def _embed(self, images, positions=None, function=None):
        def flatten(batch):
            self.calls += 1  # when it is traced
            return tf.reshape(batch, [-1, 16])

        return FeatureStore(self.workdir).embed(
            function or flatten,
            images,
            prepare=lambda batch: tf.image.convert_image_dtype(batch, tf.float32),
            positions=positions,
        )

    def test_features_are_computed_once(self):
        for images in (_in_memory(_images()), _on_disk(_images())):
            first, calls = self._embed(images), self.calls
            self.assertAllClose(first, _images().reshape(6, 16) / 255)
            self.assertAllEqual(self._embed(images), first)
            self.assertEqual(self.calls, calls)
        self.assertLen(list((self.workdir / "evaluated_features").iterdir()), 2)

    def test_other_pixels_positions_and_weights_are_computed_anew(self):
        for make in (_in_memory, _on_disk):
            self._embed(make(_images()))
            self.assertAllClose(self._embed(make(_images(1))), _images(1).reshape(6, 16) / 255)
            some = self._embed(make(_images()), np.array([4, 1]))
            self.assertAllClose(some, _images()[[4, 1]].reshape(2, 16) / 255)
        calls = self.calls
        self._save(2.0)  # of the same step
        self._embed(_in_memory(_images()))
        self.assertGreater(self.calls, calls)
        self.assertLen(list((self.workdir / "evaluated_features").iterdir()), 1)

    def test_what_cannot_be_kept_is_computed(self):
        with mock.patch.object(feature_store, "_MAX_VALUES", 95):
            self.assertEqual(self._embed(_in_memory(_images())).shape, (6, 16))
        self.assertFalse((self.workdir / "evaluated_features").exists())

    def test_features_of_an_encoder_that_is_not_trained_are_shared_by_runs_with_the_same_weights(self):
        encoder = tf.keras.Sequential([tf.keras.layers.Flatten(), tf.keras.layers.Dense(2)])
        encoder.build([None, 4, 4, 1])
        calls = []

        def embed(**changes):
            settings = Hyperparameters(**tiny.settings(cache_dir=str(self.workdir / "cache"), **changes))
            store = SharedFeatureStore(settings, encoder)

            def encode(batch):
                calls.append(changes)  # when it is traced
                return encoder(batch)

            return store.embed(encode, _in_memory(_images()), prepare=lambda batch: tf.cast(batch, tf.float32))

        first = embed(train="nothing", head_width=8, seed=1)
        self.assertAllClose(embed(train="heads", small_views=0, head_width=16, seed=2), first)
        self.assertLen(calls, 1)
        for number, changes in enumerate(({"large_size": 9}, {"inference_size": 9}, {"recipe": "digits"}), start=2):
            embed(**changes)
            self.assertLen(calls, number)
        encoder.layers[1].bias.assign([1.0, 0.0])
        self.assertAllClose(embed(train="nothing"), first + np.array([1.0, 0.0]))
        self.assertLen(list((self.workdir / "cache" / "evaluated_features").iterdir()), 5)

    def test_a_digest_is_of_pixels_order_and_classes(self):
        labels = np.array([0, 1, 1, 0, 1, 0], np.int32)
        make = (lambda images: ImageSet(images, labels), _on_disk)
        for images in (make[0](_images()), dataclasses.replace(make[1](_images()), labels=labels)):
            found = [
                feature_store.digest_of_classified(images, np.array(positions), names)
                for positions, names in (([4, 1], "ab"), ([1, 4], "ab"), ([4, 2], "ab"), ([4, 1], "ac"), ([4, 3], "ab"))
            ]
            self.assertLen(set(found), 5)
            self.assertEqual(feature_store.digest_of_classified(images, np.array([4, 1]), "ab"), found[0])
            other = dataclasses.replace(images, labels=1 - labels)
            self.assertNotEqual(feature_store.digest_of_classified(other, np.array([4, 1]), "ab"), found[0])

    def test_features_that_are_not_finite_are_refused(self):
        def broken(batch):
            return tf.where(tf.range(6)[:, tf.newaxis] == 2, float("nan"), tf.reshape(batch, [-1, 16]))

        with self.assertRaisesRegex(ValueError, "^--workdir must .* finite. Received: .* NaN or Inf for 1 of 6 images"):
            self._embed(_in_memory(_images()), function=broken)


if __name__ == "__main__":
    tf.test.main()
