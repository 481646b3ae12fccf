"""Tests of semppl.losses.baselines.neighbour_contrast."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.baselines.neighbour_contrast import neighbour_contrast
from semppl.tests.losses.baselines import checks


def _oracle(neighbours, predictions, rows, groups, temperature):
    """The formula in plain loops, one pair of views of one image at a time."""
    losses = []
    for b, row in enumerate(rows):
        pairs = []
        for v in range(len(neighbours)):
            for w in range(len(predictions)):
                if v == w:
                    continue
                scores = [math.exp(neighbours[v, b] @ prediction / temperature) for prediction in predictions[w]]
                others = [score for n, score in enumerate(scores) if groups[n] != groups[row]]
                pairs.append(-math.log(scores[row] / (scores[row] + sum(others))))
        losses.append(sum(pairs) / len(pairs))
    return losses


class NeighbourContrastTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(num_views=[2, 3], temperature=[0.1, 1.3])
    def test_matches_plain_loops(self, num_views, temperature):
        neighbours, predictions = checks.unit(num_views, 3, 5), checks.unit(num_views, 7, 5, seed=1)
        rows, groups = (
            np.array([4, 0, 6], np.int32),
            np.array([3, 1, 1, 0, 5, 4, 3]),
        )  # the last row shows the first image
        losses = neighbour_contrast(
            tf.constant(neighbours),
            tf.constant(predictions),
            rows=tf.constant(rows),
            same=tf.constant(groups[rows][:, np.newaxis] == groups),
            temperature=temperature,
        )
        self.assertAllClose(losses, _oracle(neighbours, predictions, rows, groups, temperature), rtol=1e-9)

    def _losses(self, neighbours, predictions, temperature=0.3):
        rows = tf.range(predictions.shape[1])
        return neighbour_contrast(
            tf.convert_to_tensor(neighbours),
            predictions,
            rows=rows,
            same=rows[:, tf.newaxis] == rows,
            temperature=temperature,
        )

    @parameterized.parameters(0.1, 0.5, 2.0)
    def test_orthogonal_images_have_a_closed_form(self, temperature):
        axes = tf.eye(6, batch_shape=[2], dtype=tf.float64)  # cosine 1 with the image itself, 0 with five others
        self.assertAllClose(
            self._losses(axes, axes, temperature), [math.log1p(5 * math.exp(-1 / temperature))] * 6, rtol=1e-12
        )

    def test_the_gradient_is_the_slope_and_flows_to_the_predictions_alone(self):
        neighbours = tf.constant(checks.unit(2, 4, 3))
        along, slope = checks.slopes(lambda point: self._losses(neighbours, point), checks.unit(2, 4, 3, seed=1))
        self.assertAllClose(along, slope, rtol=1e-7)
        with tf.GradientTape() as tape:
            tape.watch(neighbours)
            losses = self._losses(neighbours, tf.constant(checks.unit(2, 4, 3, seed=1)))
        self.assertIsNone(tape.gradient(losses, neighbours))

    @parameterized.parameters(0.001, 1e3)
    def test_opposite_predictions_stay_finite(self, temperature):
        point = checks.unit(2, 4, 3)
        found = checks.gradient(
            lambda predictions: self._losses(tf.constant(-point, tf.float32), predictions, temperature), point
        )
        self.assertAllEqual(np.isfinite(found), np.ones(point.shape, bool))

    def test_views_may_change_places(self):
        neighbours, predictions = checks.unit(3, 5, 4), checks.unit(3, 5, 4, seed=1)
        forth = self._losses(neighbours, tf.constant(predictions))
        back = self._losses(neighbours[::-1].copy(), tf.constant(predictions[::-1]))
        self.assertAllClose(forth, back, rtol=1e-12)


if __name__ == "__main__":
    tf.test.main()
