"""Tests of semppl.trainers.baselines.supcon."""

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.losses.baselines.supervised_contrast import supervised_contrast
from semppl.tests import tiny
from semppl.tests.losses.baselines import checks
from semppl.tests.trainers.baselines import models
from semppl.trainers import pretrain


def _make(method, **changes):
    settings = models.settings(method, **changes)
    model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    return model, models.prepare(model, settings)


class SupConTest(tf.test.TestCase):
    def test_an_image_without_a_label_is_a_class_of_its_own_with_its_repetitions(self):
        model, _ = _make("supcon", temperature=0.3)
        anchors = tf.constant(checks.unit(2, 16, 8), tf.float32)
        labels = [2, 0, 2, 1, *[-1] * 12]
        alike = np.eye(16, dtype=bool)
        alike[0, 2] = alike[2, 0] = True
        alike[7, 9] = alike[9, 7] = True
        expected = supervised_contrast(anchors, anchors, rows=tf.range(16), alike=tf.constant(alike), temperature=0.3)
        groups = tf.constant([*range(9), 7, *range(10, 16)])
        self.assertAllEqual(model.contrast(anchors, tf.constant(labels), groups), expected)

    def test_a_batch_of_one_class_is_trained_on(self):
        model, batch = _make("supcon", labelled_batch_size=16)
        report = model.train_step(batch | {"labels": tf.ones([16], tf.int32)})
        self.assertGreater(float(report["gradient_norm"]), 0)
        self.assertTrue(np.isfinite(report["loss"]))


if __name__ == "__main__":
    tf.test.main()
