"""Losses against those of lightly 1.6, recorded in tests/goldens/lightly_losses.json by tests/losses/baselines/recorded.py."""

import json

import numpy as np
import tensorflow as tf

from semppl.layers.key_queue import KeyQueue
from semppl.losses.baselines.cross_correlation import cross_correlation
from semppl.losses.baselines.neighbour_contrast import neighbour_contrast
from semppl.losses.baselines.queue_contrast import queue_contrast
from semppl.losses.baselines.swapped_prediction import sinkhorn, swapped_prediction
from semppl.losses.cosine_distance import cosine_distance
from semppl.losses.nt_xent import nt_xent
from semppl.tests.losses.baselines import recorded
from semppl.tests.losses.baselines.recorded import EPSILON, REDUNDANCY, TEMPERATURE, embeddings, queue, scores, unit

_GOLDENS = json.loads(recorded.FILE.read_text(encoding="utf-8"))
_OWN = np.eye(8) > 0


class LightlyTest(tf.test.TestCase):
    """lightly returns a mean over the batch of one direction; the means of both directions are ours."""

    def _assert_recorded(self, losses, expected):
        self.assertAllClose(np.mean(losses), expected, rtol=1e-6)

    def test_nt_xent(self):
        views = tf.constant(unit(embeddings(2, seed=0)))
        self._assert_recorded(nt_xent(views, views, same=_OWN, temperature=TEMPERATURE), _GOLDENS["nt_xent"])

    def test_byol_is_2_plus_twice_the_negative_cosine(self):
        anchors, targets = (tf.constant(unit(embeddings(2, seed=seed))) for seed in (0, 2))
        self._assert_recorded(cosine_distance(anchors, targets), 2 + 2 * np.mean(_GOLDENS["byol"]))

    def test_moco_with_a_queue_for_each_view(self):
        anchors, keys = (tf.constant(unit(embeddings(2, seed=seed))) for seed in (0, 2))
        losses = queue_contrast(anchors, keys, tf.constant(queue()), temperature=TEMPERATURE)
        self._assert_recorded(losses, np.mean(_GOLDENS["moco"]))

    def test_swav_with_two_large_views_and_a_small_one(self):
        codes = sinkhorn(tf.constant(scores()[:2]), epsilon=EPSILON)
        losses = swapped_prediction(tf.constant(scores()), codes, temperature=TEMPERATURE)
        self._assert_recorded(losses, _GOLDENS["swav"])

    def test_barlow_twins(self):
        loss = cross_correlation(tf.constant(embeddings(2, seed=0)), redundancy_weight=REDUNDANCY)
        self._assert_recorded(loss, _GOLDENS["barlow_twins"])

    def test_nnclr_finds_the_same_neighbours(self):
        memory = KeyQueue(1, *queue().shape[1:], dtype="float64")
        memory.keys.assign(queue()[:1])
        nearest = memory.nearest(tf.constant(unit(embeddings(2, seed=0))))
        self.assertAllClose(nearest, _GOLDENS["neighbours"], rtol=1e-9)

    def test_nnclr_of_lightly_is_its_nt_xent_of_neighbours_and_predictions(self):
        # There also neighbours and predictions of their own side are negatives, and predictions are anchors. Ours, as in the
        # paper, contrasts neighbours with predictions alone.
        neighbours = np.array(_GOLDENS["neighbours"])
        predictions = unit(embeddings(2, seed=2))
        for view, expected in enumerate(_GOLDENS["nnclr"]):
            pair = tf.constant(np.stack([neighbours[view], predictions[1 - view]]))
            self._assert_recorded(nt_xent(pair, pair, same=_OWN, temperature=TEMPERATURE), expected)
        arguments = {"rows": tf.range(8), "same": _OWN, "temperature": TEMPERATURE}
        ours = neighbour_contrast(tf.constant(neighbours), tf.constant(predictions), **arguments)
        self.assertLess(np.mean(ours), np.mean(_GOLDENS["nnclr"]))  # of fewer negatives


if __name__ == "__main__":
    tf.test.main()
