"""Programs that work print nothing of the libraries that they use."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

from absl.testing import absltest

import semppl
from semppl.tests import testing
from semppl.tests.trainers import runs

_LOG = re.compile(r"^[IWEF]\d{4} |InitializeLog|\w+Warning\b|WARNING|site-packages|^\d{4}-\d\d-\d\d ", re.MULTILINE)


class QuietProgramsTest(absltest.TestCase):
    @testing.slow
    def test_no_program_prints_a_line_of_a_librarys_log(self):
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        run, served = f"--workdir={folder}/run", f"{folder}/served/digits/1"
        for module, *arguments in (
            ("trainers.pretrain", *runs.TINY, run),
            ("evaluation.evaluate", run),
            ("export.export_model", run, "--answers=auto", f"--export_dir={served}"),
            ("export.embed", f"--model={served}", "--data=digits", f"--out={folder}/embeddings"),
            ("doctor.examine", *runs.TINY[:-2], f"--workdir={folder}/examined", "--trial_steps=2"),
        ):
            environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
            environment["PYTHONPATH"] = str(pathlib.Path(semppl.__file__).parents[1])
            command = [sys.executable, "-m", f"semppl.{module}", *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            with self.subTest(module):
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertNotRegex(done.stderr + done.stdout, _LOG)


if __name__ == "__main__":
    absltest.main()
