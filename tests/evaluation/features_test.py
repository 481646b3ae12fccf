"""Tests of semppl.evaluation.features."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.sources import ImageSet
from semppl.evaluation import features
from semppl.evaluation.features import embed, preparation_of
from semppl.layers.inputs.preparation import prepare
from semppl.tests import testing, tiny


def _image_set(dtype=np.float32):
    images = (np.arange(7 * 2 * 2).reshape(7, 2, 2, 1)).astype(dtype)
    return ImageSet(images, np.zeros(7, np.int32))


def _sums(images):
    return tf.reduce_sum(images, [1, 2])


class EmbedTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(1, 3, 7, 256)
    def test_every_image_is_embedded_once_and_in_order(self, batch_size):
        found = embed(_sums, _image_set(), prepare=tf.identity, batch_size=batch_size)
        self.assertEqual(found.dtype, np.float32)
        self.assertAllEqual(found[:, 0], [4 * (4 * i) + 6 for i in range(7)])

    def test_the_progress_bar_has_the_name_of_the_images(self):
        with mock.patch.object(features.tqdm, "tqdm", wraps=features.tqdm.tqdm) as bar:
            embed(_sums, _image_set(), prepare=tf.identity, name="labelled pictures")
        self.assertEqual(bar.call_args.kwargs["desc"], "labelled pictures")

    def test_images_are_prepared_first(self):
        found = embed(_sums, _image_set(), prepare=lambda images: images / 2, batch_size=3)
        self.assertAllEqual(found[:, 0], [2 * (4 * i) + 3 for i in range(7)])

    def test_only_the_images_that_are_wanted_are_embedded(self):
        found = embed(_sums, _image_set(), prepare=tf.identity, batch_size=2, positions=np.array([5, 0, 6]))
        self.assertAllEqual(found[:, 0], [86, 6, 102])

    def test_images_arrive_in_their_own_type(self):
        seen = []
        embed(
            _sums, _image_set(np.uint8), prepare=lambda images: seen.append(images.dtype) or tf.cast(images, tf.float32)
        )
        self.assertEqual(set(seen), {tf.uint8})

    def test_the_network_is_traced_for_the_last_batch_at_most_once_more(self):
        traces = []
        embed(lambda images: traces.append(1) or _sums(images), _image_set(), prepare=tf.identity, batch_size=2)
        self.assertLessEqual(len(traces), 2)


class PreparationTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(("imagenet", 7 / 8), ("cifar", 1.0), ("digits", 1.0), ("grey", 1.0), ("identity", 1.0))
    def test_only_the_imagenet_recipe_goes_with_a_crop(self, recipe, crop):
        images = np.random.default_rng(0).integers(0, 256, (1, 32, 40, 3), np.uint8)
        view = preparation_of(Hyperparameters(**tiny.settings(recipe=recipe, large_size=24)))(images)
        self.assertAllEqual(view, prepare(images, size=24, crop=crop))

    def test_pictures_may_be_larger_than_the_views_of_training(self):
        images = np.random.default_rng(0).integers(0, 256, (1, 32, 40, 3), np.uint8)
        view = preparation_of(Hyperparameters(**tiny.settings(large_size=24, inference_size=30)))(images)
        self.assertAllEqual(view, prepare(images, size=30, crop=1.0))


if __name__ == "__main__":
    assert testing
    tf.test.main()
