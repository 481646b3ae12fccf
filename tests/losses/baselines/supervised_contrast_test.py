"""Tests of semppl.losses.baselines.supervised_contrast."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.baselines.supervised_contrast import supervised_contrast
from semppl.tests.losses.baselines import checks

_CLASSES = np.array([0, 1, 0, 2, 1, 0])
_ALIKE = _CLASSES[:, np.newaxis] == _CLASSES


def _oracle(everyone, row, temperature):
    """The formula in plain loops, one view of one image at a time."""
    num_views, size, _ = everyone.shape
    losses = []
    for v in range(num_views):
        others = [(w, n) for w in range(num_views) for n in range(size) if (w, n) != (v, row)]
        cosines = {(w, n): everyone[v, row] @ everyone[w, n] / temperature for w, n in others}
        total = sum(math.exp(cosine) for cosine in cosines.values())
        positives = [cosine for (_, n), cosine in cosines.items() if _CLASSES[n] == _CLASSES[row]]
        losses.append(-sum(math.log(math.exp(cosine) / total) for cosine in positives) / len(positives))
    return sum(losses) / num_views


class SupervisedContrastTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(num_views=[2, 3], temperature=[0.1, 1.3])
    def test_matches_plain_loops(self, num_views, temperature):
        everyone, rows = checks.unit(num_views, 6, 5), np.array([4, 3, 0])
        losses = supervised_contrast(
            tf.constant(everyone[:, rows]),
            tf.constant(everyone),
            rows=tf.constant(rows, tf.int32),
            alike=tf.constant(_ALIKE[rows]),
            temperature=temperature,
        )
        self.assertAllClose(losses, [_oracle(everyone, row, temperature) for row in rows], rtol=1e-9)

    def test_the_mean_is_that_of_supcontrast_without_its_factor(self):
        # SupContrast: −(τ/0.07)·mean over anchors of Σ mask·(logit − log Σ_{a≠i} e^{logit_a}) / Σ mask, all views in one list.
        everyone, temperature = checks.unit(2, 6, 5), 0.1
        flat, classes = everyone.reshape(12, 5), np.tile(_CLASSES, 2)
        logits, others = flat @ flat.T / temperature, 1 - np.eye(12)
        mask = (classes[:, np.newaxis] == classes) * others
        log_probabilities = logits - np.log(np.sum(others * np.exp(logits), axis=1, keepdims=True))
        expected = -(temperature / 0.07) * np.mean(np.sum(mask * log_probabilities, axis=1) / np.sum(mask, axis=1))
        losses = self._losses(tf.constant(everyone), tf.constant(_ALIKE), temperature)
        self.assertAllClose((temperature / 0.07) * np.mean(losses), expected, rtol=1e-9)

    def _losses(self, embeddings, alike, temperature=0.3):
        rows = tf.range(embeddings.shape[1])
        return supervised_contrast(embeddings, embeddings, rows=rows, alike=alike, temperature=temperature)

    @parameterized.parameters(0.1, 0.5, 2.0)
    def test_orthogonal_classes_have_a_closed_form(self, temperature):
        # Two classes of three images, two views: cosine 1 with the 5 others of the class, 0 with the 6 of the other class.
        axes = np.repeat(np.eye(2), 3, axis=0)
        losses = self._losses(tf.constant(np.stack([axes] * 2)), tf.constant(axes @ axes.T > 0), temperature)
        self.assertAllClose(losses, [math.log(5 + 6 * math.exp(-1 / temperature))] * 6, rtol=1e-12)

    def test_an_image_without_others_of_its_class_has_its_own_views(self):
        # −log of the softmax over the 11 other embeddings, of which one is the other view.
        axes = tf.constant(np.stack([np.eye(6)] * 2))
        expected = math.log1p(10 * math.exp(-2))
        self.assertAllClose(self._losses(axes, tf.zeros([6, 6], tf.bool), 0.5), [expected] * 6, rtol=1e-12)

    def test_a_single_view_without_others_of_its_class_has_no_loss(self):
        losses = self._losses(tf.constant(checks.unit(1, 6, 4)), tf.constant(_ALIKE))
        self.assertAllEqual(losses[3], 0)
        self.assertAllGreater(tf.gather(losses, [0, 1, 2, 4, 5]), 0)

    def test_the_gradient_is_the_slope(self):
        along, slope = checks.slopes(lambda point: self._losses(point, tf.constant(_ALIKE)), checks.unit(2, 6, 3))
        self.assertAllClose(along, slope, rtol=1e-7)

    @parameterized.parameters(0.01, 1e3)
    def test_a_batch_of_one_class_stays_finite(self, temperature):
        # All cosines alike: −log(1/7), whatever the temperature.
        point, alike = np.ones([2, 4, 1]), tf.ones([4, 4], tf.bool)
        self.assertAllClose(self._losses(tf.constant(point, tf.float32), alike, temperature), [math.log(7)] * 4)
        found = checks.gradient(lambda point: self._losses(point, alike, temperature), point)
        self.assertAllEqual(np.isfinite(found), np.ones([2, 4, 1], bool))

    def test_views_may_change_places(self):
        everyone = checks.unit(3, 6, 4)
        forth, back = (self._losses(tf.constant(part), tf.constant(_ALIKE)) for part in (everyone, everyone[::-1]))
        self.assertAllClose(forth, back, rtol=1e-12)


if __name__ == "__main__":
    tf.test.main()
