"""Tests of semppl.export.memory.memory_views."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import make_views
from semppl.export.memory.memory_views import check_views, framed, mean_direction, random_view
from semppl.layers.inputs.preparation import fingerprints, prepare, shrunk
from semppl.tests import testing, tiny  # noqa: F401  (before TensorFlow runs anything)


def _settings(**changes):
    colours = {"channels": 3, "pixel_mean": (0.5,) * 3, "pixel_stddev": (0.25,) * 3}
    return Hyperparameters(**tiny.settings(recipe="cifar", large_size=16, **colours, **changes))


def _images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


class MemoryViewsTest(tf.test.TestCase, parameterized.TestCase):
    def test_a_view_is_a_large_view_of_the_recipe_and_depends_on_pixels_and_number_alone(self):
        settings, images = _settings(), _images(3, 20, 24, 3)
        views = random_view(images, settings, 1)
        self.assertEqual(views.shape, (3, 16, 16, 3))
        prints = fingerprints(images)
        one = settings.views.__class__(recipe="cifar", large_views=1, small_views=0, large_size=16)
        for number in (1, 7):
            seeds = tf.stack([prints, tf.constant([number] * 3, tf.int64)], 1)
            expected = make_views(tf.constant(images), one, seed=seeds)["large"][0]
            self.assertAllEqual(random_view(images, settings, number), expected)
        self.assertAllEqual(random_view(images[2:], settings, 1), views[2:])
        self.assertNotAllClose(random_view(images, settings, 2), views, atol=0.05)

    def test_views_of_another_size_than_pictures_in_evaluation_are_refused(self):
        message = "^--memory_views must be 1 where --inference_size=20 is not that of views, 16. Received: 2$"
        with self.assertRaisesRegex(ValueError, message):
            check_views(2, _settings(inference_size=20), centre_crop=1.0)
        check_views(1, _settings(inference_size=20), centre_crop=1.0)
        check_views(2, _settings(inference_size=16), centre_crop=1.0)

    @parameterized.parameters(0, 18)
    def test_a_picture_of_any_size_has_the_same_views(self, shrink):
        settings = _settings(shrink=shrink)
        spec = [tf.TensorSpec([1, None, None, 3], tf.uint8)]
        view = tf.function(lambda images: random_view(images, settings, 2), input_signature=spec, autograph=False)
        for shape in ((1, 20, 33, 3), (1, 41, 24, 3)):
            self.assertAllClose(view(_images(*shape)), random_view(_images(*shape), settings, 2), atol=1e-3)

    def test_large_pictures_are_shrunk_first(self):
        settings, images = _settings(shrink=18), _images(1, 40, 60, 3)
        small = shrunk(tf.constant(images), 18)
        self.assertEqual(small.shape[1:3], (18, 27))
        self.assertAllEqual(random_view(images, settings, 1), random_view(small, settings, 1))

    def test_views_are_averaged_in_plain_loops(self):
        rng = np.random.default_rng(0)
        views = [rng.standard_normal((3, 4)).astype(np.float32) for _ in range(3)]
        expected = []
        for row in range(3):
            mean = [sum(float(view[row, column]) for view in views) / 3 for column in range(4)]
            length = math.sqrt(sum(value**2 for value in mean))
            expected.append([value / length for value in mean])
        self.assertAllClose(mean_direction(views), expected, atol=1e-6)
        self.assertIs(mean_direction(views[:1]), views[0])
        self.assertAllEqual(mean_direction([views[0], -views[0]]), np.zeros((3, 4)))

    @parameterized.parameters((16, 1.0), (16, 0.875), (16, 0.7), (15, 0.875), (224, 0.875), (9, 0.55))
    def test_a_framed_view_is_prepared_as_itself(self, size, centre_crop):
        views = (_images(2, size, size, 3) / 255).astype(np.float32)
        images = framed(tf.constant(views), centre_crop=centre_crop)
        self.assertAllClose(prepare(images, size=size, crop=centre_crop), views, atol=1e-6)

    @parameterized.parameters((0, 0, "1 or more. Received: 0"), (2, 17, "1 where --shrink=17 is below 18. Received: 2"))
    def test_views_that_a_model_would_change_are_refused(self, views, shrink, message):
        with self.assertRaisesRegex(ValueError, f"^--memory_views must be {message}$"):
            check_views(views, _settings(shrink=shrink), centre_crop=0.9)
        for allowed in (_settings(shrink=18), _settings()):
            check_views(2, allowed, centre_crop=0.9)
        check_views(1, _settings(shrink=17), centre_crop=0.9)


if __name__ == "__main__":
    tf.test.main()
