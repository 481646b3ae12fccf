"""Tests of semppl.programs.process.home: a user without a home folder."""

import os
import pathlib
import stat
import tempfile
from unittest import mock

from absl.testing import absltest

from semppl.programs.process.home import ensure_home


class EnsureHomeTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.enter_context(tempfile.TemporaryDirectory())
        self.enter_context(mock.patch.dict(os.environ))
        self.enter_context(mock.patch.object(tempfile, "tempdir", self.folder))
        os.environ.pop("HOME", None)

    def _without_an_entry(self):
        return mock.patch("pwd.getpwuid", side_effect=KeyError("uid not found"))

    def test_a_user_without_home_and_without_an_entry_gets_a_private_folder_and_keeps_it(self):
        with self._without_an_entry():
            with self.assertRaises(RuntimeError):
                pathlib.Path.home()
            ensure_home()
            home = pathlib.Path.home()
            self.assertEqual(home.parent, pathlib.Path(self.folder))
            self.assertEqual(stat.S_IMODE(home.stat().st_mode), 0o700)
            del os.environ["HOME"]
            ensure_home()
            self.assertEqual(pathlib.Path.home(), home)

    def test_a_folder_of_another_user_or_a_link_is_not_taken(self):
        taken = pathlib.Path(self.folder, f"home-{os.getuid()}")
        taken.symlink_to(self.folder)
        with self._without_an_entry():
            ensure_home()
            self.assertNotEqual(pathlib.Path.home(), taken)
            self.assertTrue(pathlib.Path.home().is_dir())

    def test_a_home_that_is_known_stays(self):
        ensure_home()
        self.assertNotIn("HOME", os.environ)  # the password database names the home folder
        os.environ["HOME"] = "/somewhere"
        ensure_home()
        self.assertEqual(os.environ["HOME"], "/somewhere")


if __name__ == "__main__":
    absltest.main()
