"""Tests of semppl.benchmarks.heads_cost."""

from unittest import mock

import numpy as np
import tensorflow as tf

from semppl.benchmarks import heads_cost
from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.cached_views import CachedViews
from semppl.data.pipeline import Pipeline
from semppl.tests import testing, tiny
from semppl.trainers import pretrain


class HeadsCostTest(tf.test.TestCase):
    def test_the_first_batch_is_not_timed(self):
        with mock.patch.object(heads_cost.time, "perf_counter", side_effect=[5.0, 7.0]):
            rate = heads_cost.rate_behind_the_first(np.zeros((rows, 1)) for rows in (100, 6, 4))
        self.assertEqual(rate, 5.0)

    def test_steps_and_waiting_are_timed(self):
        settings = Hyperparameters(**tiny.settings(train="heads", small_views=0, cached_views=3, steps=100))
        model = pretrain.build_model(settings, tiny.NUM_CLASSES, jit_compile=False)
        width = model.online.encode(tf.zeros([1, 8, 8, 1])).shape[-1]
        rng = np.random.default_rng(0)
        views = CachedViews(rng.normal(0, 1, (20, 3, width)).astype(np.float16), np.arange(20, dtype=np.int32) % 3)
        labels = np.where(np.arange(20) < 6, views.labels, -1).astype(np.int32)
        seconds, waiting = heads_cost.take_steps(model, Pipeline(views, labels, settings), 3)
        self.assertEqual(model.optimizer.iterations.numpy(), 13)
        self.assertGreater(seconds, 0)
        self.assertBetween(waiting, 0, 1)


if __name__ == "__main__":
    assert testing
    tf.test.main()
