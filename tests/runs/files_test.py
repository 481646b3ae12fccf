"""Tests of semppl.runs.files."""

import errno
import os
import pathlib
import subprocess
import sys
from unittest import mock

from absl.testing import absltest, parameterized

import semppl
from semppl.runs import files
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


def _folder(test):
    return pathlib.Path(test.create_tempdir().full_path)


class WriteAtomicallyTest(parameterized.TestCase):
    def test_a_file_is_written_for_everyone_to_read(self):
        path = _folder(self) / "a.json"
        files.write_atomically(path, "ä\n")
        files.write_atomically(path, "é\n")
        self.assertEqual(path.read_text(encoding="utf-8"), "é\n")
        self.assertEqual(path.stat().st_mode & 0o777, 0o644)
        self.assertLen(list(path.parent.iterdir()), 1)

    @parameterized.parameters("fsync", "replace")
    def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(self, broken):
        path = _folder(self) / "a.json"
        files.write_atomically(path, "old")
        full = mock.patch.object(os, broken, side_effect=OSError(errno.ENOSPC, "full"))
        with full, self.assertRaises(OSError):
            files.write_atomically(path, "new")
        self.assertEqual(path.read_text(), "old")
        self.assertLen(list(path.parent.iterdir()), 1)


class RequireWritableTest(parameterized.TestCase):
    def test_a_place_that_can_be_written_is_left_as_it_is(self):
        folder = _folder(self)
        (folder / "old.csv").write_text("old")
        for path in (folder, folder / "deep" / "er", folder / "old.csv", folder / "new.csv"):
            files.require_writable(path, "out")
        self.assertEqual([path.name for path in folder.iterdir()], ["old.csv"])

    @parameterized.parameters("/proc/x", "/proc/x/1")
    def test_a_place_that_cannot_be_written_names_the_flag(self, path):
        message = rf"^--out must be a file that can be written\. Received: {path} \(.+\)$"
        with self.assertRaisesRegex(ValueError, message):
            files.require_writable(path, "out", "file")
        with self.assertRaisesRegex(
            ValueError, rf"^--workdir must be a folder that can be written\. Received: {path} "
        ):
            files.make_writable_folder(pathlib.Path(path), "workdir")

    def test_a_folder_below_a_file_cannot_be_written(self):
        file = _folder(self) / "file"
        file.write_text("text")
        for path in (file, file / "below"):
            with self.assertRaisesRegex(ValueError, "^--workdir must be a folder that can be written. Received: "):
                files.make_writable_folder(path, "workdir")


class FolderWrittenAsideTest(parameterized.TestCase):
    def test_a_folder_appears_when_it_is_complete(self):
        target = _folder(self) / "deep" / "er"
        with files.folder_written_aside(target) as aside:
            (aside / "file").write_text("text")
            self.assertFalse(target.exists())
        self.assertEqual((target / "file").read_text(), "text")
        self.assertEqual(target.stat().st_mode & 0o777, 0o755)

    @parameterized.parameters(ValueError, KeyboardInterrupt)
    def test_a_folder_that_fails_leaves_nothing(self, problem):
        root = _folder(self)
        with self.assertRaises(problem), files.folder_written_aside(root / "deep" / "er"):
            raise problem
        self.assertEmpty(list(root.iterdir()))


class LockedTest(absltest.TestCase):
    def test_a_second_process_is_refused_or_waits(self):
        path = _folder(self) / "lock"
        with files.locked(path, wait=True), self.assertRaises(BlockingIOError), files.locked(path, wait=False):
            self.fail("locked twice")
        with files.locked(path, wait=False):
            pass


class DiskErrorsTest(absltest.TestCase):
    def test_the_reason_is_translated_and_what_has_words_of_its_own_passes(self):
        with self.assertRaisesRegex(KeyError, "No space"), files.disk_errors_as(KeyError):
            raise OSError(errno.ENOSPC, "No space left on device", "a")
        with self.assertRaises(FileNotFoundError), files.disk_errors_as(KeyError, but=(FileNotFoundError,)):
            raise FileNotFoundError(errno.ENOENT, "gone", "a")

    def test_a_problem_of_writing_is_recognised_and_one_of_reading_is_not(self):
        full = files.write_problem(RuntimeError("Error in write_index: No space left on device"))
        self.assertEqual(full, files.WriteProblem("No space left on device", None, full=True))
        closed = files.write_problem(PermissionError(errno.EACCES, "Permission denied", "a"))
        self.assertEqual(closed, files.WriteProblem("Permission denied", "a", full=False))
        self.assertIsNone(files.write_problem(FileNotFoundError(errno.ENOENT, "No such file", "a")))

    def test_tensorflow_is_not_loaded(self):
        environment = os.environ | {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
        command = [sys.executable, "-c", "import sys, semppl.runs.files; sys.exit('tensorflow' in sys.modules)"]
        self.assertEqual(subprocess.run(command, env=environment, check=False).returncode, 0)


if __name__ == "__main__":
    absltest.main()
