"""Tests of semppl.runs.folder."""

import errno
import fcntl
import os
import pathlib
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.runs import folder
from semppl.tests import testing, tiny  # noqa: F401  (marks the flags as parsed)


def _settings(**changes):
    return Hyperparameters(**tiny.settings(**changes))


class _Case(tf.test.TestCase, parameterized.TestCase):
    def folder(self):
        return pathlib.Path(self.create_tempdir().full_path)


class UnfinishedTest(_Case):
    def test_a_run_that_was_trained_here_says_at_which_step_it_stands(self):
        workdir = self.folder()
        self.assertEqual(folder.unfinished(workdir, 500, 1500), "")  # imported: no data.json
        (workdir / "data.json").touch()
        self.assertEqual(folder.unfinished(workdir, 500, 1500), "step 500 of 1,500, unfinished")
        self.assertEqual(folder.unfinished(workdir, 1500, 1500), "")


class WritingToTest(_Case):
    @parameterized.parameters(
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (
            tf.errors.ResourceExhaustedError(None, None, "/a; b/x; No space left on device [Op:SaveV2]\nmore"),
            "No space left on device",
        ),
        (tf.errors.UnknownError(None, None, "odd"), "odd"),
        (OSError(), "None"),
    )
    def test_what_the_disk_says_is_put_into_one_line_with_the_remedy(self, error, reason):
        with self.assertRaises(folder.NotWritten) as caught, folder.writing_to(pathlib.Path("outputs/a")):
            raise error
        message = str(caught.exception)
        self.assertStartsWith(message, f"--workdir must have room for the run. Received: outputs/a ({reason}). ")
        self.assertIn("make room, and the same command goes on", message)
        self.assertNotIn("\n", message)

    def test_other_errors_pass(self):
        with self.assertRaisesRegex(ValueError, "^mine$"), folder.writing_to(pathlib.Path("outputs/a")):
            raise ValueError("mine")


class OpenRunTest(_Case):
    def test_a_new_run_has_its_settings_in_its_folder(self):
        workdir, settings = self.folder() / "deep" / "er", _settings()
        with folder.open_run(workdir, settings):
            self.assertEqual(Hyperparameters.load(workdir), settings)

    def test_a_run_goes_on_with_the_same_settings(self):
        workdir, settings = self.folder(), _settings()
        for _ in range(2):
            with folder.open_run(workdir, settings):
                pass
        self.assertEqual(Hyperparameters.load(workdir), settings)

    def test_other_settings_are_refused_by_name_and_change_nothing(self):
        workdir = self.folder()
        with folder.open_run(workdir, _settings()):
            pass
        with self.assertRaises(ValueError) as caught, folder.open_run(workdir, _settings(seed=9, width=0.5)):
            self.fail("opened")
        self.assertEqual(
            str(caught.exception),
            f"--workdir must hold a run with the same settings, or none. Received: {workdir}, which differs in "
            "--seed=9 (there: 3); --width=0.5 (there: 0.125)",
        )
        self.assertEqual(Hyperparameters.load(workdir), _settings())

    def test_who_wants_a_longer_run_reads_how_to_begin_one(self):
        workdir = self.folder()
        with folder.open_run(workdir, _settings()):
            pass
        for other in ({"steps": 40}, {"steps": 0, "epochs": 3.0}):
            with (
                self.assertRaisesRegex(
                    ValueError, rf"; to train longer, .*: --initial_run={workdir} with another --workdir$"
                ),
                folder.open_run(workdir, _settings(**other)),
            ):
                self.fail("opened")

    def test_paths_may_change_and_the_new_ones_are_recorded(self):
        workdir, moved = self.folder(), _settings(cache_dir="b", data_dir="c")
        with folder.open_run(workdir, _settings(cache_dir="a")):
            pass
        with folder.open_run(workdir, moved):
            self.assertEqual(Hyperparameters.load(workdir), _settings(cache_dir="a"))  # until the data are compared
            folder.record_paths(workdir, moved)
        self.assertEqual(Hyperparameters.load(workdir), moved)

    def test_other_data_are_named_before_the_settings_that_follow_from_them(self):
        workdir = self.folder()
        with folder.open_run(workdir, _settings()):
            pass

        def check_data():
            raise ValueError("the data")

        with self.assertRaisesRegex(ValueError, "^the data$"):
            folder.open_run(workdir, _settings(steps=99), check_data=check_data).__enter__()
        with self.assertRaisesRegex(ValueError, "differs in --seed=9"):
            folder.open_run(workdir, _settings(steps=99, seed=9), check_data=check_data).__enter__()

    def test_a_folder_that_cannot_be_written_is_named(self):
        file = self.folder() / "file"
        file.touch()
        for workdir in (file, file / "below", pathlib.Path("/proc/semppl")):
            with self.assertRaises(ValueError) as caught, folder.open_run(workdir, _settings()):
                self.fail("opened")
            expected = f"--workdir must be a folder that can be written. Received: {workdir} ("
            self.assertStartsWith(str(caught.exception), expected)

    def test_the_trained_parts_are_read_back_and_written_once(self):
        workdir = self.folder()
        self.assertIsNone(folder.read_trained_parts(workdir))
        folder.write_trained_parts(workdir, ("encoder", "projector"))
        self.assertEqual(folder.read_trained_parts(workdir), ("encoder", "projector"))
        with mock.patch.object(folder, "write_atomically") as write:
            folder.write_trained_parts(workdir, ("encoder", "projector"))
            write.assert_not_called()
            folder.write_trained_parts(workdir, ("encoder",))
            write.assert_called_once()

    def test_a_folder_in_the_cloud_is_not_made_here(self):
        here, workdir = self.folder(), pathlib.Path("gs://bucket/run")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(here)
        with self.assertRaises(ValueError) as caught, folder.open_run(workdir, _settings()):
            self.fail("opened")
        expected = f"--workdir must be a local or mounted folder. Received: {workdir}"
        self.assertEqual(str(caught.exception), expected)
        self.assertEmpty(list(here.iterdir()))

    def test_a_folder_that_tensorflow_would_not_find_again_is_refused(self):
        for name in ("exp[1]", "exp*", "exp?", "a\\b"):
            workdir = self.folder() / name
            with self.assertRaises(ValueError) as caught, folder.open_run(workdir, _settings()):
                self.fail("opened")
            self.assertStartsWith(str(caught.exception), "--workdir must be a path without * ? [ \\, which TensorFlow")
            self.assertFalse(workdir.exists())

    def test_a_second_process_is_refused_until_the_first_has_ended(self):
        workdir, settings = self.folder(), _settings()
        with folder.open_run(workdir, settings):
            with self.assertRaises(ValueError) as caught, folder.open_run(workdir, settings):
                self.fail("opened twice")
            expected = f"--workdir must be in use by one process only. Received: {workdir}, where another one trains"
            self.assertEqual(str(caught.exception), expected)
        with folder.open_run(workdir, settings):
            pass

    def test_a_second_process_learns_so_before_its_settings_are_compared(self):
        workdir = self.folder()
        with (
            folder.open_run(workdir, _settings()),
            self.assertRaisesRegex(ValueError, "one process only"),
            folder.open_run(workdir, _settings(seed=9)),
        ):
            self.fail("opened twice")

    def test_a_lock_that_nobody_holds_does_not_count(self):
        workdir = self.folder()
        (workdir / ".lock").write_text("4711")
        with folder.open_run(workdir, _settings()):
            pass

    def test_a_file_system_without_locks_will_do(self):
        error = OSError(errno.ENOLCK, "no locks available")
        with mock.patch.object(fcntl, "flock", side_effect=error), folder.open_run(self.folder(), _settings()):
            pass

    @parameterized.parameters(OSError(errno.EIO, "x"), tf.errors.ResourceExhaustedError(None, None, "no memory"))
    def test_what_goes_wrong_in_the_run_is_not_blamed_on_the_disk(self, error):
        with self.assertRaises(type(error)) as caught, folder.open_run(self.folder(), _settings()):
            raise error
        self.assertIs(caught.exception, error)

    def test_a_full_disk_says_so(self):
        full = mock.patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device"))
        with full, self.assertRaisesRegex(folder.NotWritten, "No space left"):
            folder.open_run(self.folder(), _settings()).__enter__()


if __name__ == "__main__":
    tf.test.main()
