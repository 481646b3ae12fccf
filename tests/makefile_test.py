"""Tests of the Makefile: when the virtual environment is made, with a stand-in for Python and no network."""

import os
import pathlib
import shutil
import subprocess
import unittest

from absl.testing import absltest

from semppl.tests import testing  # noqa: F401  (parses flags, for temporary folders)

ROOT = pathlib.Path(__file__).resolve().parents[1]

PYTHON = """#!/bin/sh
case "$*" in
  *venv*) for folder; do :; done; mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python"; echo venv >> "$LOG" ;;
  *pip*-e*) echo semppl >> "$LOG" ;;
  *pip*) echo packages >> "$LOG"; [ ! -e fail ] ;;
esac
"""
INSTALLATION = ["venv", "packages", "semppl"]


@unittest.skipUnless(shutil.which("make"), "make is not installed")
class SetupTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        (self.folder / "path").mkdir()
        python = self.folder / "path" / "python3.11"
        python.write_text(PYTHON)
        python.chmod(0o755)
        self.clone = self.new_clone("clone")

    def new_clone(self, name):
        clone = self.folder / name
        clone.mkdir()
        for file in ("Makefile", "requirements.lock", "pyproject.toml"):
            (clone / file).write_text((ROOT / file).read_text())
        return clone

    def make(self, *arguments, clone=None):
        """Returns the exit code of `make`, and the installation's steps."""
        log = self.folder / "log"
        log.write_text("")
        environment = {
            "PATH": f"{self.folder / 'path'}{os.pathsep}{os.environ['PATH']}",
            "LOG": str(log),
        }
        code = subprocess.run(
            ["make", *(arguments or ["setup"])], cwd=clone or self.clone, env=environment, capture_output=True
        ).returncode
        return code, log.read_text().split()

    def test_the_first_target_installs_and_the_second_does_not(self):
        self.assertEqual(self.make(), (0, INSTALLATION))
        self.assertEqual(self.make("quickstart"), (0, []))

    def test_newer_files_of_the_same_content_install_nothing(self):
        self.make()
        for file in ("requirements.lock", "pyproject.toml"):
            os.utime(self.clone / file, (4_000_000_000, 4_000_000_000))
        self.assertEqual(self.make(), (0, []))

    def test_a_second_clone_uses_the_environment_that_is_there(self):
        self.make()
        other = self.new_clone("other")
        self.assertEqual(self.make("setup", f"VENV={self.clone / '.venv'}", clone=other), (0, []))
        (other / ".venv").symlink_to(self.clone / ".venv")
        self.assertEqual(self.make(clone=other), (0, []))

    def test_other_packages_or_commands_are_installed(self):
        self.make()
        for file, text, replacement in (
            ("requirements.lock", "", "# another version\n"),
            ("pyproject.toml", "dependencies = [\n", 'dependencies = [\n  "another",\n'),
            ("pyproject.toml", "[project.scripts]\n", '[project.scripts]\nanother = "semppl:run"\n'),
        ):
            path = self.clone / file
            path.write_text(path.read_text().replace(text, replacement, 1))
            self.assertEqual(self.make(), (0, INSTALLATION))
            self.assertEqual(self.make(), (0, []))

    def test_settings_of_tools_install_nothing(self):
        self.make()
        path = self.clone / "pyproject.toml"
        path.write_text(path.read_text() + "\n[tool.another]\nsetting = 1\n")
        self.assertEqual(self.make(), (0, []))

    def test_an_installation_that_failed_is_tried_again(self):
        (self.clone / "fail").touch()
        code, steps = self.make()
        self.assertNotEqual(code, 0)
        self.assertEqual(steps, ["venv", "packages"])
        (self.clone / "fail").unlink()
        self.assertEqual(self.make(), (0, INSTALLATION))


if __name__ == "__main__":
    absltest.main()
