"""Tests of semppl.trainers.baselines.swav."""

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.networks import unit_norm
from semppl.tests import tiny
from semppl.tests.trainers.baselines import models
from semppl.trainers import pretrain


def _make(method, **changes):
    settings = models.settings(method, **changes)
    model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    return model, models.prepare(model, settings)


class SwAVTest(tf.test.TestCase):
    def test_prototypes_stay_fixed_at_first_and_then_follow_their_gradient_on_the_sphere(self):
        model, batch = _make("swav", swav_prototypes=5, swav_frozen_steps=1, swav_epsilon=0.5)
        first = model.prototypes.numpy()
        self.assertAllClose(tf.norm(first, axis=-1), [1.0] * 5)
        model.train_step(batch)
        self.assertAllEqual(model.prototypes, first)
        anchors, _ = model.predict(batch)
        with tf.GradientTape() as tape:
            scores = tf.einsum("vbd,kd->vbk", anchors, model.prototypes)
            loss = tf.reduce_mean(model.predict_codes(scores))
        gradient = tape.gradient(loss, model.prototypes)
        model.train_step(batch)
        self.assertAllClose(model.prototypes, unit_norm(first - models.RATE * gradient), rtol=1e-5, atol=1e-7)
        self.assertNotAllClose(model.prototypes, first, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    tf.test.main()
