"""Tests of semppl.trainers.baselines.moco."""

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.losses.baselines.queue_contrast import queue_contrast
from semppl.tests import tiny
from semppl.tests.trainers.baselines import models
from semppl.trainers import pretrain


def _make(method, **changes):
    settings = models.settings(method, **changes)
    model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    return model, models.prepare(model, settings)


class MoCoTest(tf.test.TestCase):
    def test_the_keys_of_all_images_enter_the_queue_after_the_contrast(self):
        model, batch = _make("moco", temperature=0.3)
        queue, keys = (
            tf.convert_to_tensor(model.key_queue.keys),
            model.project(batch),
        )  # batch norm takes the batch's own
        anchors, _ = model.predict(batch)
        expected = tf.reduce_mean(queue_contrast(anchors, keys, queue, temperature=0.3))
        self.assertAllClose(model.train_step(batch)["loss"], expected, rtol=1e-6)
        self.assertAllClose(model.key_queue.keys[:, :16], keys, rtol=1e-6, atol=1e-7)
        self.assertAllEqual(model.key_queue.keys[:, 16:], queue[:, 16:])
        self.assertEqual(model.key_queue.keys.shape, [2, 40, 8])


if __name__ == "__main__":
    tf.test.main()
