"""Tests of semppl.losses.baselines.support_assignment."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.baselines import support_assignment
from semppl.tests.losses.baselines import checks

_LABELS = np.eye(3)[[0, 2, 1, 0, 2]] * 0.9 + 0.1 / 3


def _assignment_oracle(anchor, supports, labels, temperature):
    weights = [math.exp(anchor @ support / temperature) for support in supports]
    return [
        sum(w * label[c] for w, label in zip(weights, labels, strict=True)) / sum(weights)
        for c in range(len(labels[0]))
    ]


def _sharpen_oracle(probabilities, temperature):
    powers = [p ** (1 / temperature) for p in probabilities]
    return [power / sum(powers) for power in powers]


def _loss(anchors, supports, *, num_large, temperature=0.3, sharpening=0.25):
    labels = tf.constant(_LABELS, anchors.dtype)
    found = support_assignment.soft_neighbour_assignment(anchors, supports, labels, temperature=temperature)
    targets = support_assignment.assignment_targets(
        found[:num_large], num_views=anchors.shape[0], temperature=sharpening
    )
    return support_assignment.assignment_consistency(found, targets)


class SupportAssignmentTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(views=[(2, 2), (4, 2), (4, 3)], temperature=[0.1, 1.3], sharpening=[0.25, 0.7])
    def test_matches_plain_loops(self, views, temperature, sharpening):
        num_views, num_large = views
        anchors, supports = checks.unit(num_views, 4, 6), checks.unit(5, 6, seed=1)
        losses = _loss(
            tf.constant(anchors),
            tf.constant(supports),
            num_large=num_large,
            temperature=temperature,
            sharpening=sharpening,
        )
        for b in range(4):
            found = [_assignment_oracle(anchors[v, b], supports, _LABELS, temperature) for v in range(num_views)]
            sharp, total = [_sharpen_oracle(p, sharpening) for p in found[:num_large]], 0.0
            for v in range(num_views):
                others = [sharp[w] for w in range(num_large) if w != v]
                for c in range(3):
                    target = sum(other[c] for other in others) / len(others)
                    total -= (target if target >= 1e-4 else 0.0) * math.log(found[v][c])
            self.assertAllClose(losses[b], total / num_views, rtol=1e-9)

    @parameterized.parameters(0.1, 0.5, 2.0)
    def test_embeddings_on_orthogonal_supports_have_a_closed_form(self, temperature):
        # Probability of the own class: 1 / (1 + 3·e^{−1/τ}); of each other e^{−1/τ} times as much.
        axes = tf.eye(4, batch_shape=[2], dtype=tf.float64)
        found = support_assignment.soft_neighbour_assignment(axes, axes[0], axes[0], temperature=temperature)
        own = 1 / (1 + 3 * math.exp(-1 / temperature))
        self.assertAllClose(
            found[0], np.full([4, 4], own * math.exp(-1 / temperature)) * (1 - np.eye(4)) + own * np.eye(4)
        )

    def test_targets_below_a_ten_thousandth_are_0_and_the_others_stay(self):
        probabilities = tf.constant([[[0.9, 0.05, 0.05]], [[0.5, 0.4, 0.1]]], tf.float64)
        targets = support_assignment.assignment_targets(probabilities, num_views=2, temperature=0.25)
        small = 0.05**4 / (0.9**4 + 2 * 0.05**4)  # 9.5e-6
        self.assertAllClose(targets[1, 0], [1 - 2 * small, 0, 0], rtol=1e-12)
        self.assertAllClose(targets[0, 0], _sharpen_oracle([0.5, 0.4, 0.1], 0.25), rtol=1e-12)

    def test_images_without_a_label_are_left_out_of_the_support(self):
        anchors, supports = checks.unit(2, 4, 6), checks.unit(5, 6, seed=1)
        labels = _LABELS * [[1], [0], [1], [1], [0]]
        found = support_assignment.soft_neighbour_assignment(
            tf.constant(anchors), tf.constant(supports), tf.constant(labels), temperature=0.3
        )
        chosen = [0, 2, 3]
        for v, b in np.ndindex(2, 4):
            expected = _assignment_oracle(anchors[v, b], supports[chosen], labels[chosen], 0.3)
            self.assertAllClose(found[v, b], expected, rtol=1e-9)
        empty = support_assignment.soft_neighbour_assignment(
            tf.constant(anchors), tf.constant(supports), tf.zeros([5, 3], tf.float64), temperature=0.3
        )
        self.assertAllEqual(empty, tf.zeros([2, 4, 3]))

    def test_a_mean_over_all_classes_has_the_least_negative_entropy(self):
        self.assertAllClose(support_assignment.negative_entropy(tf.fill([5], 0.2)), -math.log(5))
        mean = np.array([0.5, 0.3, 0.2, 0.0])
        expected = sum(p * math.log(p) for p in mean if p)
        self.assertAllClose(support_assignment.negative_entropy(tf.constant(mean)), expected, rtol=1e-12)

    def test_the_gradient_is_the_slope_for_fixed_targets(self):
        supports, targets = checks.unit(5, 6, seed=1), np.random.default_rng(0).dirichlet(np.ones(3), (2, 4))

        def loss(anchors):
            labels = tf.constant(_LABELS)
            found = support_assignment.soft_neighbour_assignment(anchors, supports, labels, temperature=0.3)
            sharp = support_assignment.sharpen(found, temperature=0.25)
            even = support_assignment.negative_entropy(tf.reduce_mean(sharp, axis=[0, 1]))
            return support_assignment.assignment_consistency(found, tf.constant(targets)) + even

        along, slope = checks.slopes(loss, checks.unit(2, 4, 6))
        self.assertAllClose(along, slope, rtol=1e-7)

    def test_no_gradient_flows_to_the_targets(self):
        probabilities = tf.constant(np.random.default_rng(0).dirichlet(np.ones(3), (2, 4)))
        with tf.GradientTape() as tape:
            tape.watch(probabilities)
            targets = support_assignment.assignment_targets(probabilities, num_views=3, temperature=0.25)
        self.assertIsNone(tape.gradient(targets, probabilities))

    @parameterized.parameters((1e-3, 0.01), (1e3, 0.01), (0.1, 1e3))
    def test_extreme_temperatures_stay_finite(self, temperature, sharpening):
        supports = tf.constant(checks.unit(5, 6, seed=1), tf.float32)
        found = checks.gradient(
            lambda anchors: _loss(anchors, supports, num_large=2, temperature=temperature, sharpening=sharpening),
            checks.unit(3, 4, 6),
        )
        self.assertAllEqual(np.isfinite(found), np.ones([3, 4, 6], bool))


if __name__ == "__main__":
    tf.test.main()
