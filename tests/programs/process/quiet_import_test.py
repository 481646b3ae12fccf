"""Tests of semppl.programs.process.quiet_import."""

import os
import pathlib
import subprocess
import sys

from absl.testing import absltest

import semppl
from semppl.tests import testing  # noqa: F401  (parses flags, for temporary folders)

_LOUD = "import os\nos.write(2, b'C++ says something\\n')\nVERSION = 3\n"


class QuietImportTest(absltest.TestCase):
    def run_program(self, program, level="3"):
        """Runs a program where `tensorflow` is a module that writes on standard error."""
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "tensorflow.py").write_text(_LOUD)
        (folder / "another.py").write_text(_LOUD)
        paths = [str(folder), str(pathlib.Path(semppl.__file__).parents[1])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": level}
        program = f"from semppl.programs.process import quiet_import; quiet_import.install(); {program}"
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout, done.stderr

    def test_tensorflow_is_imported_in_silence(self):
        program = "import tensorflow; print(tensorflow.VERSION, tensorflow.__spec__.loader.__class__.__name__)"
        self.assertEqual(self.run_program(program), ("3 SourceFileLoader\n", ""))

    def test_what_follows_is_heard(self):
        program = "import tensorflow, os; os.write(2, b'heard')"
        self.assertEqual(self.run_program(program), ("", "heard"))

    def test_other_modules_are_heard(self):
        self.assertIn("C++ says something", self.run_program("import another")[1])

    def test_a_log_level_that_asks_for_lines_gets_them(self):
        self.assertIn("C++ says something", self.run_program("import tensorflow", level="0")[1])


if __name__ == "__main__":
    absltest.main()
