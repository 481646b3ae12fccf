"""Tests of semppl.export.model.versions."""

import pathlib
import stat

from absl.testing import absltest, parameterized

from semppl.export.model.versions import new_version
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


class NewVersionTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.target = pathlib.Path(self.create_tempdir().full_path) / "digits" / "12"

    def test_the_folder_appears_when_it_is_whole(self):
        with new_version(self.target, flag="--out") as folder:
            (folder / "file").write_text("text")
            self.assertFalse(self.target.exists())
            self.assertEmpty([path for path in self.target.parent.iterdir() if path.name.isdecimal()])
        self.assertEqual((self.target / "file").read_text(), "text")
        self.assertEqual(stat.S_IMODE(self.target.stat().st_mode), 0o755)

    @parameterized.parameters(ValueError, KeyboardInterrupt)
    def test_it_vanishes_if_something_goes_wrong(self, problem):
        before = self.target.parents[1]
        with self.assertRaises(problem), new_version(before / "a" / "b" / "1", flag="--out"):
            raise problem
        self.assertEmpty(list(before.iterdir()))

    def test_folders_that_were_there_or_hold_something_stay(self):
        self.target.parent.mkdir()
        with self.assertRaises(ValueError), new_version(self.target, flag="--out"):
            raise ValueError
        self.assertEmpty(list(self.target.parent.iterdir()))
        with self.assertRaises(ValueError), new_version(self.target.parent / "a" / "1", flag="--out") as folder:
            (folder.parent / "2").mkdir()
            raise ValueError
        self.assertEqual([path.name for path in (self.target.parent / "a").iterdir()], ["2"])

    def test_a_version_is_a_number_and_is_never_replaced(self):
        for name in ("b", "9223372036854775808", "٣", "1.0", "-1"):  # 2⁶³, and three in Arabic digits
            with (
                self.assertRaisesRegex(ValueError, rf"^--out must end in a version number, .* Received: a/{name}$"),
                new_version(f"a/{name}", flag="--out"),
            ):
                pass
        largest = self.target.with_name("9223372036854775807")
        with new_version(largest, flag="--out") as folder:
            (folder / "file").touch()
        self.assertTrue(largest.is_dir())
        for folder in ("served [v2]", "a*", "a?", "a\\b"):
            target = self.target.parents[1] / folder / "1"
            with self.assertRaisesRegex(ValueError, "--out must be a path without"), new_version(target, flag="--out"):
                pass
            self.assertFalse(target.parent.exists())
        self.target.mkdir(parents=True)
        with self.assertRaisesRegex(ValueError, "--out must be a new folder"), new_version(self.target, flag="--out"):
            pass


if __name__ == "__main__":
    absltest.main()
