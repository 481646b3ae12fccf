"""Tests of semppl.losses.nt_xent."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.nt_xent import nt_xent, semantic_nt_xent


def _unit(*shape, seed=0):
    rows = np.random.default_rng(seed).normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _oracle(anchors, everyone, rows, groups, temperature, class_prior):
    """The formula in plain loops, one pair of views of one image at a time."""
    num_views, batch, _ = anchors.shape
    losses = []
    for b in range(batch):
        pairs = []
        for v in range(num_views):
            negatives = [
                math.exp(anchors[v, b] @ everyone[w, n] / temperature)
                for w in range(num_views)
                for n in range(everyone.shape[1])
                if groups[n] != groups[rows[b]]
            ]
            for w in range(num_views):
                if w == v:
                    continue
                positive = math.exp(anchors[v, b] @ everyone[w, rows[b]] / temperature)
                total = sum(negatives)
                if class_prior:
                    mean = total / len(negatives)
                    g = max((mean - class_prior * positive) / (1 - class_prior), math.exp(-1 / temperature))
                    total = len(negatives) * g
                pairs.append(-math.log(positive / (positive + total)))
        losses.append(sum(pairs) / len(pairs))
    return losses


def _own(size):
    return tf.eye(size) > 0


class NTXentTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(num_views=[2, 3], temperature=[0.1, 0.5, 1.0], class_prior=[0.0, 0.1, 0.6])
    def test_matches_plain_loops(self, num_views, temperature, class_prior):
        everyone = _unit(num_views, 7, 5)
        rows, groups = (
            np.array([4, 0, 6], np.int32),
            np.array([3, 1, 1, 0, 5, 4, 3]),
        )  # the last row shows the first image
        losses = nt_xent(
            tf.constant(everyone[:, rows]),
            tf.constant(everyone),
            same=tf.constant(groups[rows][:, np.newaxis] == groups),
            temperature=temperature,
            class_prior=class_prior,
        )
        expected = _oracle(everyone[:, rows], everyone, rows, groups, temperature, class_prior)
        self.assertAllClose(losses, expected, rtol=1e-9)

    @parameterized.product(num_views=[2, 3], temperature=[0.1, 1.0], class_prior=[0.0, 0.1])
    def test_semantic_positives_match_plain_loops(self, num_views, temperature, class_prior):
        everyone, entries = _unit(num_views, 7, 5), _unit(3, 2, 4, 5, seed=1)  # 4 positives in each of 2 queues
        rows, groups = np.array([4, 0, 6], np.int32), np.array([3, 1, 1, 0, 5, 4, 3])
        losses = semantic_nt_xent(
            tf.constant(everyone[:, rows]),
            tf.constant(everyone),
            tf.constant(entries),
            same=tf.constant(groups[rows][:, np.newaxis] == groups),
            temperature=temperature,
            class_prior=class_prior,
        )
        expected = []
        for b, row in enumerate(rows):
            values = []
            for anchor in everyone[:, row]:
                negatives = [
                    math.exp(anchor @ other / temperature)
                    for view in everyone
                    for other, group in zip(view, groups, strict=True)
                    if group != groups[row]
                ]
                for entry in entries[b].reshape(-1, 5):
                    positive = math.exp(anchor @ entry / temperature)
                    g = max(
                        (np.mean(negatives) - class_prior * positive) / (1 - class_prior), math.exp(-1 / temperature)
                    )
                    total = len(negatives) * g if class_prior else sum(negatives)
                    values.append(-math.log(positive / (positive + total)))
            expected.append(np.mean(values))
        self.assertAllClose(losses, expected, rtol=1e-9)

    @parameterized.parameters(0.0, 0.3)
    def test_without_any_other_image_loss_and_gradient_are_zero(self, class_prior):
        point = tf.constant(_unit(2, 3, 4), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(point)
            losses = nt_xent(point, point, same=tf.ones([3, 3], tf.bool), temperature=0.1, class_prior=class_prior)
        self.assertAllClose([losses, tf.reduce_sum(tape.gradient(losses, point) ** 2, [0, 2])], np.zeros([2, 3]))

    @parameterized.parameters(0.1, 0.5, 2.0)
    def test_orthogonal_images_with_equal_views_have_a_closed_form(self, temperature):
        everyone = tf.stack([tf.eye(6, dtype=tf.float64)] * 2)  # cosine 1 with the positive, 0 with ten negatives
        losses = nt_xent(everyone, everyone, same=_own(6), temperature=temperature)
        self.assertAllClose(losses, [math.log1p(10 * math.exp(-1 / temperature))] * 6, rtol=1e-12)

    def test_debiased_orthogonal_images_have_a_closed_form(self):
        # g = max((1 − τ⁺·e^{2}) / (1 − τ⁺), e^{−2}) at a temperature of 0.5, here (1 − 0.1·e²)/0.9.
        everyone = tf.stack([tf.eye(6, dtype=tf.float64)] * 2)
        losses = nt_xent(everyone, everyone, same=_own(6), temperature=0.5, class_prior=0.1)
        g = (1 - 0.1 * math.exp(2)) / 0.9
        self.assertAllClose(losses, [math.log1p(10 * g * math.exp(-2))] * 6, rtol=1e-9)

    def test_the_gradient_is_the_slope(self):
        everyone = tf.Variable(_unit(2, 4, 3))

        def loss():
            return tf.reduce_sum(nt_xent(everyone, everyone, same=_own(4), temperature=0.3, class_prior=0.05))

        with tf.GradientTape() as tape:
            value = loss()
        gradient = tape.gradient(value, everyone).numpy()
        start, direction = everyone.numpy(), np.random.default_rng(1).normal(size=(2, 4, 3))
        ends = []
        for delta in (1e-6, -1e-6):
            everyone.assign(start + delta * direction)
            ends.append(float(loss()))
        self.assertAllClose((ends[0] - ends[1]) / 2e-6, np.sum(gradient * direction), rtol=1e-7)

    def test_extreme_similarities_stay_finite(self):
        point = tf.ones([2, 4, 1])
        for temperature in (0.01, 1e3):
            for class_prior in (0.0, 0.5):
                with tf.GradientTape() as tape:
                    tape.watch(point)
                    losses = nt_xent(point, point, same=_own(4), temperature=temperature, class_prior=class_prior)
                self.assertAllInRange(losses, 0, 10)
                self.assertAllEqual(tf.math.is_finite(tape.gradient(losses, point)), np.ones([2, 4, 1], bool))

    def test_views_may_change_places(self):
        everyone = _unit(3, 5, 4)
        forth, back = (
            nt_xent(tf.constant(part), tf.constant(part), same=_own(5), temperature=0.2)
            for part in (everyone, everyone[::-1].copy())
        )
        self.assertAllClose(forth, back, rtol=1e-12)


if __name__ == "__main__":
    tf.test.main()
