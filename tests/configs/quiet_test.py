"""Tests of semppl.configs.quiet."""

import logging
import pathlib
import subprocess
import sys

from absl import logging as absl_logging
from absl.testing import absltest

import semppl
from semppl.configs import quiet

_STARTS = """
from semppl.configs import quiet
import tensorflow as tf
quiet.hush()
print(float(tf.square(3.0)))
"""


class QuietTest(absltest.TestCase):
    def test_warnings_of_absl_and_errors_of_tensorflow_are_left(self):
        self.addCleanup(absl_logging.set_verbosity, absl_logging.get_verbosity())
        quiet.hush()
        self.assertEqual(absl_logging.get_verbosity(), absl_logging.WARNING)
        self.assertEqual(logging.getLogger("tensorflow").getEffectiveLevel(), logging.ERROR)

    def test_tensorflow_starts_without_a_word(self):
        environment = {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}  # and no TF_CPP_MIN_LOG_LEVEL
        command = [sys.executable, "-c", _STARTS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        self.assertEqual((done.stdout, done.stderr), ("9.0\n", ""))


if __name__ == "__main__":
    absltest.main()
