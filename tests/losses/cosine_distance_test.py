"""Tests of semppl.losses.cosine_distance."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.cosine_distance import cosine_distance, semantic_cosine_distance


def _unit(*shape, seed=0):
    rows = np.random.default_rng(seed).normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class CosineDistanceTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((2, 2), (3, 2), (4, 1))
    def test_is_the_mean_squared_distance_of_different_views(self, num_views, num_large):
        anchors, targets = _unit(num_views, 5, 4, seed=1), _unit(num_large, 5, 4, seed=2)
        expected = [
            np.mean(
                [
                    np.sum((anchors[v, b] - targets[w, b]) ** 2)
                    for v in range(num_views)
                    for w in range(num_large)
                    if v != w
                ]
            )
            for b in range(5)
        ]
        self.assertAllClose(cosine_distance(tf.constant(anchors), tf.constant(targets)), expected, rtol=1e-12)

    def test_semantic_positives_are_at_the_mean_squared_distance_of_all_views(self):
        anchors, entries = _unit(3, 2, 4, seed=1), _unit(2, 2, 5, 4, seed=2)  # 5 positives in each of 2 queues
        expected = [
            np.mean([np.sum((anchor - entry) ** 2) for anchor in anchors[:, b] for entry in entries[b].reshape(-1, 4)])
            for b in range(2)
        ]
        point = tf.constant(entries)
        with tf.GradientTape() as tape:
            tape.watch(point)
            losses = semantic_cosine_distance(tf.constant(anchors), point)
        self.assertAllClose(losses, expected, rtol=1e-12)
        self.assertIsNone(tape.gradient(losses, point))

    def test_equal_views_are_at_0_orthogonal_at_2_and_opposite_at_4(self):
        axes = tf.eye(3)
        for targets, expected in ((axes, 0), (tf.roll(axes, 1, 0), 2), (-axes, 4)):
            losses = cosine_distance(tf.stack([axes] * 2), tf.stack([targets] * 2))
            self.assertAllClose(losses, [expected] * 3)

    def test_no_gradient_reaches_the_targets(self):
        anchors, targets = tf.constant(_unit(2, 3, 4)), tf.constant(_unit(2, 3, 4, seed=1))
        with tf.GradientTape() as tape:
            tape.watch([anchors, targets])
            losses = cosine_distance(anchors, targets)
        gradient, none = tape.gradient(losses, [anchors, targets])
        self.assertIsNone(none)
        # d/dp of −2·p·t, over the two pairs of views
        self.assertAllClose(gradient, -np.asarray(targets)[::-1], rtol=1e-12)


if __name__ == "__main__":
    tf.test.main()
