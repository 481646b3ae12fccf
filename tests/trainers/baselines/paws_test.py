"""Tests of semppl.trainers.baselines.paws."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.tests import tiny
from semppl.tests.trainers.baselines import models
from semppl.trainers import pretrain


def _make(**changes):
    settings = models.settings("paws", **changes)
    model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    return model, models.prepare(model, settings)


def _sharpened(probabilities, temperature):
    powers = probabilities ** (1 / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)


def _expected(anchors, labels, *, temperature, sharpening, smoothing, weight):
    """The loss of a batch, view by view and image by image; the first two views are large."""
    support, hot = [], []
    for view in anchors[:2]:
        for row in np.flatnonzero(labels >= 0):
            support.append(view[row])
            hot.append(np.eye(3)[labels[row]] * (1 - smoothing) + smoothing / 3)
    weights = np.exp(anchors @ np.array(support).T / temperature)
    probabilities = weights / weights.sum(axis=-1, keepdims=True) @ np.array(hot)  # [V,B,C]
    sharp, losses = _sharpened(probabilities, sharpening), []
    unlabelled = np.flatnonzero(labels < 0)
    for b in unlabelled:
        for v in range(len(anchors)):
            target = sharp[1 - v, b] if v < 2 else (sharp[0, b] + sharp[1, b]) / 2
            losses.append(-np.sum(np.where(target < 1e-4, 0, target) * np.log(probabilities[v, b])))
    mean = sharp[:, unlabelled].mean(axis=(0, 1))
    return np.mean(losses) + weight * np.sum(mean * np.log(mean))


class PAWSTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((0, 0.25, 0.1, 1.0), (2, 0.5, 0.3, 0.4))
    def test_the_loss_is_that_of_views_and_of_their_mean_assignment(self, small_views, sharpening, smoothing, weight):
        model, batch = _make(
            small_views=small_views,
            temperature=0.1,
            paws_sharpening=sharpening,
            paws_label_smoothing=smoothing,
            paws_me_max_weight=weight,
        )
        anchors = model.predict(batch)[0].numpy().astype(np.float64)
        expected = _expected(
            anchors,
            batch["labels"].numpy(),
            temperature=0.1,
            sharpening=sharpening,
            smoothing=smoothing,
            weight=weight,
        )
        self.assertAllClose(model.train_step(batch)["loss"], expected, rtol=1e-4)

    def test_gradients_flow_through_the_support_too(self):
        model, batch = _make()
        anchors = model.predict(batch)[0]
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            probabilities = model.assign(anchors, batch["labels"][:4])
            loss = tf.reduce_sum(model.compare(probabilities)[4:])
        gradient = tape.gradient(loss, anchors)
        self.assertAllGreater(tf.reduce_max(tf.abs(gradient), axis=2), 0)

    def test_the_share_of_right_assignments_is_reported(self):
        model, batch = _make()
        report = model.train_step(batch)
        self.assertAllEqual(report["pseudo_label_coverage"], 1)
        self.assertAllEqual(report["pseudo_labels_judged"], 12)

    def test_a_single_large_view_is_refused(self):
        settings = Hyperparameters(**models.settings("paws", large_views=1))
        with self.assertRaisesRegex(ValueError, "^--large_views must be 2 or more with --method=paws. Received: 1$"):
            pretrain.check_names(settings)

    def test_a_batch_without_unlabelled_images_is_refused(self):
        allowed = "below batch_size = 16 with --method=paws, which needs unlabelled images"
        with self.assertRaisesRegex(ValueError, f"^--labelled_batch_size must be {allowed}. Received: 16$"):
            _make(labelled_batch_size=16)


if __name__ == "__main__":
    tf.test.main()
