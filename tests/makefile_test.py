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
  *version_info*) version=$(basename "$0"); case "$*" in *"'${version#python}'"*) ;; *) exit 1 ;; esac ;;
  *venv*) for folder; do :; done; mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python"; echo venv >> "$LOG" ;;
  *pip*-e*) echo semppl >> "$LOG" ;;
  *pip*) echo packages >> "$LOG"; [ ! -e fail ] ;;
esac
"""
INSTALLATION = ["venv", "packages", "semppl"]
# The machine's Python is not among these.
TOOLS = ("make", "sed", "cut", "cat", "sha256sum", "shasum", "rm", "mkdir", "cp", "basename")


@unittest.skipUnless(shutil.which("make"), "make is not installed")
class SetupTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        (self.folder / "path").mkdir()
        for tool in filter(shutil.which, TOOLS):
            (self.folder / "path" / tool).symlink_to(shutil.which(tool))
        self.python("3.11")
        self.clone = self.new_clone("clone")

    def python(self, version):
        python = self.folder / "path" / f"python{version}"
        python.write_text(PYTHON)
        python.chmod(0o755)
        return python

    def new_clone(self, name):
        clone = self.folder / name
        clone.mkdir()
        for file in ("Makefile", "requirements.lock", "requirements-tf221.lock", "pyproject.toml"):
            (clone / file).write_text((ROOT / file).read_text())
        return clone

    def run_make(self, *arguments, clone=None):
        environment = {
            "PATH": str(self.folder / "path"),
            "HOME": str(self.folder),
            "LOG": str(self.folder / "log"),
        }
        (self.folder / "log").write_text("")
        command = [shutil.which("make"), *(arguments or ["setup"])]
        return subprocess.run(command, cwd=clone or self.clone, env=environment, capture_output=True, text=True)

    def make(self, *arguments, clone=None):
        """Returns the exit code of `make`, and the installation's steps."""
        code = self.run_make(*arguments, clone=clone).returncode
        return code, (self.folder / "log").read_text().split()

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

    def test_the_stack_is_the_one_that_the_python_at_hand_allows(self):
        self.assertIn("stack tf215 in .venv", self.run_make().stdout)
        self.assertEqual((self.clone / ".venv/.stack").read_text().split()[0], "tf215")
        for version in ("3.10", "3.12", "3.13"):
            with self.subTest(version):
                for python in (self.folder / "path").glob("python*"):
                    python.unlink()
                self.python(version)
                clone = self.new_clone(f"clone{version}")
                self.assertIn("stack tf221 in .venv", self.run_make(clone=clone).stdout)
                self.assertEqual(self.make(clone=clone), (0, []))

    def test_a_stack_can_be_chosen_and_has_an_environment_of_its_own(self):
        self.python("3.12")
        for stack in ("tf215", "tf221"):
            self.assertEqual(self.make("setup", f"STACK={stack}"), (0, INSTALLATION))
            self.assertEqual((self.clone / f".venv-{stack}/.stack").read_text().split()[0], stack)
            self.assertEqual(self.make("setup", f"STACK={stack}"), (0, []))

    def test_a_lock_belongs_to_its_stack(self):
        self.make()
        (self.clone / "requirements-tf221.lock").write_text("# another version")
        self.assertEqual(self.make(), (0, []))

    def test_a_python_can_be_chosen(self):
        python = self.python("3.13")
        self.assertIn("stack tf221", self.run_make("setup", f"PYTHON={python}").stdout)

    def test_what_is_missing_or_unknown_is_named(self):
        python = self.folder / "path" / "python3.11"
        for arguments, message in (
            (["STACK=tf216"], "STACK must be tf215 or tf221. Received: tf216"),
            ([f"PYTHON={python}", "STACK=tf999"], "STACK must be"),
            (
                ["STACK=tf215", "PYTHON=nothing"],
                "Python of one of these versions is needed: 3.11. Received: PYTHON=nothing, ",
            ),
            (["STACK=tf215", f"PYTHON={self.python('3.12')}"], "pyenv install 3.11"),
            (["STACK=tf221", "PYTHON=nothing"], "pyenv install 3.12"),
        ):
            done = self.run_make("setup", *arguments)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(message, done.stderr)
        python.unlink()
        (self.folder / "path" / "python3.12").unlink()
        self.assertIn("is needed: 3.11 3.13 3.12 3.10. None was found on PATH or in pyenv", self.run_make().stderr)

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
