"""Tests of semppl.benchmarks.step_time."""

import itertools

import tensorflow as tf

from semppl.benchmarks import step_share, step_time
from semppl.configs.hyperparameters import Hyperparameters
from semppl.tests import testing, tiny
from semppl.trainers import pretrain


class StepTimeTest(tf.test.TestCase):
    @testing.slow
    def test_every_part_runs_and_takes_time(self):
        settings = tiny.settings()
        model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
        batch = {name: tf.constant(value) for name, value in tiny.batch(0, settings).items()}
        timed = step_time.parts(model, batch, itertools.repeat(batch), jit_compile=False)
        seconds = step_share.medians(timed, rounds=1)
        rows = step_time.breakdown(seconds)
        self.assertEqual(list(rows), ["input", "forward", "target", "search", "loss", "backward", "update"])
        self.assertAllGreater(list(seconds.values()), 0)
        self.assertNotIn(-1, model.queue.labels.numpy()[: settings["queue_size"] // 4 * 4])

    def test_backward_is_what_is_left(self):
        seconds = {"input": 1, "forward": 2, "target": 4, "search": 8, "loss": 16, "update": 32}
        rows = step_time.breakdown({**seconds, "forward, loss and gradient": 100, "whole step": 200})
        self.assertEqual(rows, {**seconds, "backward": 82})


if __name__ == "__main__":
    assert testing
    tf.test.main()
