"""Tests of semppl.programs.process.streams: a program in environments that have no such streams."""

import os
import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest

import semppl

_PROGRAM = """
import sys
from semppl.programs.process import streams
streams.make_lenient()
for row in range(20000):
    print("row", row, "… α ✓", flush=True)
print("to stderr …", file=sys.stderr)
with open(sys.argv[1], "w") as file:
    file.write("worked\\n")
"""


class StreamsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    def _run(self, redirection, **environment):
        """Runs the program in a shell; returns what was printed, after checking that the program did its work."""
        (self.folder / "program.py").write_text(_PROGRAM)
        written = self.folder / "written"
        command = f"{sys.executable} {self.folder}/program.py {written} {redirection}"
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            env=os.environ | {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])} | environment,
            capture_output=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(written.read_text(), "worked\n")
        return done.stdout, done.stderr

    def test_characters_that_the_locale_lacks_are_escaped(self):
        stdout, stderr = self._run("| tail -1", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
        self.assertEqual((stdout, stderr), (b"row 19999 \\u2026 \\u03b1 \\u2713\n", b"to stderr \\u2026\n"))

    def test_what_nobody_reads_is_dropped(self):
        stdout, stderr = self._run("| head -1")
        self.assertEqual((stdout, stderr), ("row 0 … α ✓\n".encode(), "to stderr …\n".encode()))

    def test_closed_streams_are_nobodys(self):
        for redirection in (">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
            with self.subTest(redirection):
                self._run(redirection, PYTHONIOENCODING="utf-8")

    def test_a_full_disk_is_an_error(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        program = "from semppl.programs.process import streams; streams.make_lenient(); print('x', flush=True)"
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-c", program],
                env=os.environ | {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])},
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
            )
        self.assertIn(b"No space left on device", done.stderr)


if __name__ == "__main__":
    absltest.main()
