"""Tests of semppl.programs.quiet."""

import contextlib
import errno
import io
import logging
import os
import pathlib
import re
import shutil
import subprocess
import sys
import warnings

from absl import logging as absl_logging
from absl.testing import absltest, flagsaver, parameterized

import semppl
from semppl.programs import model_flags, quiet, run_flags  # noqa: F401  (defines --out)
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)

_STARTS = """
from semppl.programs import quiet
import tensorflow as tf
quiet.hush()
print(float(tf.square(3.0)))
"""


class QuietTest(parameterized.TestCase):
    def test_warnings_of_absl_and_errors_of_tensorflow_are_left(self):
        self.addCleanup(absl_logging.set_verbosity, absl_logging.get_verbosity())
        quiet.hush()
        self.assertEqual(absl_logging.get_verbosity(), absl_logging.WARNING)
        self.assertEqual(logging.getLogger("tensorflow").getEffectiveLevel(), logging.ERROR)

    def test_warnings_of_libraries_are_not_shown(self):
        for hushes, shown in (("quiet.hush()", ""), ("pass", "mind this")):
            program = f"import warnings; from semppl.programs import quiet; {hushes}; warnings.warn('mind this')"
            environment = {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
            done = subprocess.run(
                [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
            )
            self.assertIn(shown, done.stderr)
            self.assertEqual(bool(done.stderr), bool(shown))

    def test_within_a_block_warnings_are_ignored_and_afterwards_as_before(self):
        before = list(warnings.filters)
        with quiet.hushed():
            self.assertEqual(warnings.filters[0][0], "ignore")
        self.assertEqual(warnings.filters, before)

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

            printed = io.StringIO()
            with contextlib.redirect_stderr(printed):
                self.assertEqual(main(["program"]), 2)
            self.assertEqual(printed.getvalue(), f"error: {raised}\n")

    def _run(self, raised, argv=("program",)):
        @quiet.program
        def main(argv):
            raise raised

        printed = io.StringIO()
        with contextlib.redirect_stderr(printed):
            return main(list(argv)), printed.getvalue()

    def test_an_interruption_is_a_word(self):
        self.assertEqual(self._run(KeyboardInterrupt()), (130, "interrupted\n"))

    def test_a_full_disk_names_the_flag_whatever_library_says_so(self):
        for raised in (
            OSError(errno.ENOSPC, "No space left on device", "/full/.part"),
            RuntimeError("Error in write_index: could not write: No space left on device"),
        ):
            with flagsaver.flagsaver(out="/full"):
                code, printed = self._run(raised)
            self.assertEqual(code, 2)
            self.assertStartsWith(printed, "error: --out=/full cannot be written: No space left on device")
            self.assertEndsWith(printed, "; make room, or choose another place\n")

    def test_what_may_not_be_written_names_the_flag_and_what_may_not_be_read_does_not(self):
        with flagsaver.flagsaver(out="/closed"):
            for path, start in (
                ("/closed/a", "error: --out=/closed cannot be written: "),
                ("/other", "error: [Errno 13]"),
            ):
                code, printed = self._run(PermissionError(errno.EACCES, "Permission denied", path))
                self.assertEqual((code, printed[: len(start)]), (2, start))

    def test_of_several_flags_the_one_that_holds_the_path_is_named(self):
        values = {"out": "/models/1", "workdir": "/runs/a"}
        for path, named in (
            ("/runs/a/x", "--workdir=/runs/a"),
            ("/models/1/saved_model.pb", "--out=/models/1"),
            ("/models/.1-x2_/saved_model.pb", "--out=/models/1"),
            ("/models", "--out=/models/1"),
            ("/models/10/x", "[Errno 28]"),
            ("/tmp/scratch", "[Errno 28]"),
        ):
            with flagsaver.flagsaver(**values):
                printed = self._run(OSError(errno.ENOSPC, "No space left on device", path))[1]
            self.assertStartsWith(printed, f"error: {named}", path)

    def test_an_error_that_names_its_flag_is_left_alone(self):
        text = "--cache_dir must have room. Received: /cache (No space left on device)"
        with flagsaver.flagsaver(out="/models/1"):
            self.assertEqual(self._run(OSError(text)), (2, f"error: {text}\n"))

    def test_many_errors_of_a_copy_are_the_first(self):
        error = shutil.Error([("a", "b", "[Errno 5] Input/output error: 'a'"), ("c", "d", "another")])
        self.assertEqual(self._run(error), (2, "error: [Errno 5] Input/output error: 'a'\n"))

    @parameterized.parameters(
        ("semppl.export.export_model", "--workdir=w", "--export_dir=/proc/x/1", "--export_dir must be a folder"),
        ("semppl.export.update_memory", "--model=m --labels=l", "--out=/proc/x/2", "--out must be a folder"),
        ("semppl.export.embed", "--model=m", "--predictions=/proc/p.csv", "--predictions must be a file"),
        ("semppl.evaluation.suggest", "--workdir=w", "--out=/proc/x", "--out must be a folder"),
    )
    def test_an_output_that_cannot_be_written_is_refused_before_tensorflow_is_imported(
        self, module, others, output, start
    ):
        code = f"import sys; sys.modules['tensorflow'] = None; import runpy; runpy.run_module({module!r}, None, '__main__')"
        environment = os.environ | {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
        command = [sys.executable, "-c", code, *others.split(), output]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        received = output.partition("=")[2]
        self.assertStartsWith(done.stderr, f"error: {start} that can be written. Received: {received} (")
        self.assertLen(done.stderr.splitlines(), 1)

    def test_help_of_a_console_script_shows_the_flags(self):
        command = "import sys; sys.argv = ['semppl-serve', '--help']; from semppl.export import serve; serve.run()"
        environment = os.environ | {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=False
        )
        self.assertContainsSubset(["--port", "--model_base_path"], re.findall(r"--\w+", done.stdout))

    def test_other_exit_codes_and_errors_are_the_programs_own(self):
        self.assertEqual(quiet.program(lambda argv: len(argv))(["program", "a", "b"]), 3)

        @quiet.program
        def main(argv):
            raise TypeError("a mistake of ours")

        with self.assertRaisesRegex(TypeError, "a mistake of ours"):
            main([])


if __name__ == "__main__":
    absltest.main()
