"""Tests of semppl.runs.served_models."""

import pathlib

from absl.testing import absltest, parameterized

from semppl.runs.served_models import base_meant, version_meant
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


class ServedModelsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.base = pathlib.Path(self.create_tempdir().full_path) / "own"
        for name in ("2", "10", "x", "11"):
            (self.base / name).mkdir(parents=True)
        for name in ("2", "10", "x"):
            (self.base / name / "saved_model.pb").touch()

    def test_the_newest_version_with_a_model_is_meant(self):
        self.assertEqual(version_meant(self.base), f"; did you mean {self.base / '10'}?")
        for other in (self.base.parent, self.base / "10", self.base / "none"):
            self.assertEqual(version_meant(other), "")

    def test_the_folder_of_a_version_is_meant(self):
        self.assertEqual(base_meant(self.base / "10"), f"; did you mean {self.base}?")
        for other in (self.base, self.base / "x", self.base / "11"):
            self.assertEqual(base_meant(other), "")


if __name__ == "__main__":
    absltest.main()
