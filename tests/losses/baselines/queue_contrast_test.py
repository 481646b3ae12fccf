"""Tests of semppl.losses.baselines.queue_contrast."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.baselines.queue_contrast import queue_contrast
from semppl.tests.losses.baselines import checks


def _oracle(anchors, keys, queue, temperature):
    """The formula in plain loops, one pair of views of one image at a time."""
    losses = []
    for b in range(anchors.shape[1]):
        pairs = []
        for v in range(len(anchors)):
            for w in range(len(keys)):
                if v == w:
                    continue
                positive = math.exp(anchors[v, b] @ keys[w, b] / temperature)
                negatives = [math.exp(anchors[v, b] @ key / temperature) for key in queue[w]]
                pairs.append(-math.log(positive / (positive + sum(negatives))))
        losses.append(sum(pairs) / len(pairs))
    return losses


def _case(num_views=3, num_large=2):
    return checks.unit(num_views, 4, 5), checks.unit(num_large, 4, 5, seed=1), checks.unit(num_large, 7, 5, seed=2)


class QueueContrastTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(views=[(2, 2), (3, 2), (2, 1)], temperature=[0.07, 1.3])
    def test_matches_plain_loops(self, views, temperature):
        case = _case(*views)
        losses = queue_contrast(*map(tf.constant, case), temperature=temperature)
        self.assertAllClose(losses, _oracle(*case, temperature), rtol=1e-9)

    @parameterized.parameters(0.1, 0.5, 2.0)
    def test_an_orthogonal_queue_has_a_closed_form(self, temperature):
        # Cosine 1 with the key of the other view, 0 with five others.
        axes = np.eye(6)[np.newaxis]
        anchors = keys = tf.constant(np.repeat(axes[:, :1], 2, axis=0))
        losses = queue_contrast(anchors, keys, tf.constant(np.repeat(axes[:, 1:], 2, axis=0)), temperature=temperature)
        self.assertAllClose(losses, [math.log1p(5 * math.exp(-1 / temperature))], rtol=1e-12)

    def test_the_gradient_is_the_slope_and_flows_to_the_anchors_alone(self):
        anchors, keys, queue = map(tf.constant, _case())
        along, slope = checks.slopes(lambda point: queue_contrast(point, keys, queue, temperature=0.3), anchors.numpy())
        self.assertAllClose(along, slope, rtol=1e-7)
        with tf.GradientTape() as tape:
            tape.watch([keys, queue])
            losses = queue_contrast(anchors, keys, queue, temperature=0.3)
        self.assertEqual(tape.gradient(losses, [keys, queue]), [None, None])

    @parameterized.parameters(0.001, 1e3)
    def test_opposite_keys_stay_finite(self, temperature):
        anchors, _, queue = _case(2)
        keys = tf.constant(-anchors, tf.float32)
        queue = tf.constant(queue, tf.float32)
        found = checks.gradient(lambda point: queue_contrast(point, keys, queue, temperature=temperature), anchors)
        self.assertAllEqual(np.isfinite(found), np.ones(anchors.shape, bool))

    def test_the_order_of_the_queue_does_not_matter(self):
        anchors, keys, queue = _case()
        losses = [
            queue_contrast(*map(tf.constant, (anchors, keys, part)), temperature=0.2)
            for part in (queue, queue[:, ::-1])
        ]
        self.assertAllClose(losses[0], losses[1], rtol=1e-12)


if __name__ == "__main__":
    tf.test.main()
