"""Tests of semppl.configs.quiet."""

import contextlib
import io
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

    def test_what_the_user_can_mend_is_a_line_and_exit_code_2(self):
        for raised in (ValueError("--seed must be 0 or more. Received: -1"), OSError("--workdir is full")):

            @quiet.program
            def main(argv, raised=raised):
                raise raised

            told = io.StringIO()
            with contextlib.redirect_stderr(told):
                self.assertEqual(main(["program"]), 2)
            self.assertEqual(told.getvalue(), f"error: {raised}\n")

    def test_other_exit_codes_and_errors_are_the_programs_own(self):
        self.assertEqual(quiet.program(lambda argv: len(argv))(["program", "a", "b"]), 3)

        @quiet.program
        def main(argv):
            raise TypeError("a mistake of ours")

        with self.assertRaisesRegex(TypeError, "a mistake of ours"):
            main([])


if __name__ == "__main__":
    absltest.main()
