"""Tests of semppl.trainers.baselines.nnclr."""

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.losses.baselines.neighbour_contrast import neighbour_contrast
from semppl.tests import tiny
from semppl.tests.trainers.baselines import models
from semppl.trainers import pretrain


def _make(method, **changes):
    settings = models.settings(method, **changes)
    model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    return model, models.prepare(model, settings)


class NNCLRTest(tf.test.TestCase):
    def test_neighbours_are_projections_of_earlier_first_views(self):
        model, batch = _make("nnclr", temperature=0.3)
        queue = model.key_queue.keys.numpy()[0]
        views = tf.unstack(batch["large"])
        projections = tf.stack([model.online.project(view, training=True) for view in views]).numpy()
        predictions = tf.stack([model.online(view, training=True) for view in views])
        neighbours = queue[np.argmax(projections @ queue.T, axis=-1)]
        same = batch["groups"][:, tf.newaxis] == batch["groups"]  # one labelled image stands there twice
        losses = neighbour_contrast(tf.constant(neighbours), predictions, rows=tf.range(16), same=same, temperature=0.3)
        self.assertAllClose(model.train_step(batch)["loss"], tf.reduce_mean(losses), rtol=1e-5)
        self.assertAllClose(model.key_queue.keys[0], np.concatenate([projections[0], queue[16:]]), rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    tf.test.main()
