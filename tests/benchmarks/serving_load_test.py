"""Tests of semppl.benchmarks.serving_load."""

import pathlib
import unittest

import numpy as np
import tensorflow as tf

from semppl.benchmarks import serving_load
from semppl.export import export_model
from semppl.programs.extras import has_extra
from semppl.tests import testing
from semppl.tests.export.random_runs import write_run


@unittest.skipUnless(has_extra("serving"), 'the extra "serving" is not installed')
class ServingLoadTest(tf.test.TestCase):
    @testing.slow
    def test_every_request_is_answered_right_and_timed(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        write_run(folder / "run")
        export_model.export(folder / "run", folder / "digits" / "3")
        picture = tf.io.encode_png(np.full([8, 8, 1], 90, np.uint8)).numpy()
        load = serving_load.put_under_load(folder / "digits" / "3", picture, seconds=2, clients=2, rows=3, binary="")
        self.assertEmpty(load.failures)
        self.assertAllInRange(load.seconds, 1e-6, load.duration)
        self.assertGreaterEqual(load.duration, 2)
        self.assertAllInRange(load.memory[:2], 50, load.memory[2])


if __name__ == "__main__":
    tf.test.main()
