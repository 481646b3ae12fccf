"""Tests of semppl.data.cached_views."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.data.cached_views import CachedViews
from semppl.data.views import randomness
from semppl.tests import testing  # noqa: F401 (before TensorFlow runs anything)

_IMAGES, _VIEWS, _WIDTH = 7, 5, 3


def _cached():
    features = np.arange(_IMAGES * _VIEWS * _WIDTH).reshape(_IMAGES, _VIEWS, _WIDTH).astype(np.float16)
    return CachedViews(features, np.zeros(_IMAGES, np.int32))


def _row(count, first=0):
    positions = np.array([6, 0, 3, 3, 1, 5, 2, 4])[:count]
    seeds = np.stack([np.full(count, 9), np.arange(first, first + count)], 1)
    return {"positions": tf.constant(positions, tf.int64), "seeds": tf.constant(seeds, tf.int64)}


class CachedViewsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(1, 2, 5)
    def test_the_views_with_the_largest_numbers_are_drawn(self, count):
        row, cached = _row(8), _cached()
        drawn = cached.draw(row, count=count)
        numbers = randomness.uniform(row["seeds"], "cached_views", (_VIEWS,)).numpy()
        for image, position in enumerate(row["positions"].numpy()):
            order = sorted(range(_VIEWS), key=lambda view: -numbers[image, view])
            for place in range(count):
                self.assertAllEqual(drawn["large"][place, image], cached.features[position, order[place]])
        self.assertEqual(drawn["large"].dtype, tf.float32)
        self.assertEqual(drawn["small"].shape, (0, 8, _WIDTH))

    def test_shapes_are_static_in_a_dataset(self):
        rows = tf.data.Dataset.from_tensors(_row(8)).map(lambda row: _cached().draw(row, count=2))
        self.assertEqual(rows.element_spec["large"].shape, (2, 8, _WIDTH))
        self.assertEqual(rows.element_spec["small"].shape, (0, 8, _WIDTH))

    def test_every_view_is_drawn_as_often_as_every_other(self):
        cached = CachedViews(np.arange(_VIEWS, dtype=np.float16).reshape(1, _VIEWS, 1), np.zeros(1, np.int32))
        count = 4000
        seeds = np.stack([np.full(count, 9), np.arange(count)], 1)
        row = {"positions": tf.zeros([count], tf.int64), "seeds": tf.constant(seeds, tf.int64)}
        drawn = cached.draw(row, count=2)["large"].numpy()[..., 0]
        self.assertTrue(np.all(drawn[0] != drawn[1]))
        shares = np.bincount(drawn.astype(int).ravel(), minlength=_VIEWS) / drawn.size
        self.assertAllClose(shares, np.full(_VIEWS, 1 / _VIEWS), atol=0.02)


if __name__ == "__main__":
    tf.test.main()
