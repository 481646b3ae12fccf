"""Tests of semppl.data.run_data: a run's classes are matched by name, and what changed is said."""

import contextlib
import io
import json
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.run_data import load_run_data
from semppl.data.splits import load_data
from semppl.runs import data_record
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


class RunDataTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        root = pathlib.Path(self.create_tempdir().full_path)
        self.pictures, self.workdir = root / "pictures", root / "run"
        self.workdir.mkdir()
        rng = np.random.default_rng(0)
        for name in ("cat", "dog"):
            (self.pictures / name).mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(self.pictures / name / f"{number}.png")
        self.settings = self.place(self.pictures)
        self.began = load_data(self.settings)
        data = data_record.describe_data(self.began.source.train.names, self.began.labels, ("cat", "dog"))
        data_record.require_same_data(self.workdir, data, begun=False)

    def place(self, folder):
        where = f"folder:{folder}?labels=folders"
        return Hyperparameters(
            data=where, test=where, labels_per_class=2, pixel_mean=(0.5,) * 3, pixel_stddev=(0.25,) * 3
        )

    def load(self, *arguments):
        self.said = io.StringIO()
        with contextlib.redirect_stderr(self.said):
            return load_run_data(self.workdir, self.settings, *arguments)

    def test_data_that_are_as_they_were_are_loaded_without_a_word(self):
        data = self.load()
        self.assertAllEqual(data.labels, self.began.labels)
        self.assertNotIn("changed", self.said.getvalue())
        self.assertNotIn("warning", self.said.getvalue())

    def test_classes_of_a_run_without_their_names_are_matched_by_position_and_a_warning_says_so(self):
        place = self.workdir / "data.json"
        then = {name: value for name, value in json.loads(place.read_text()).items() if name in ("images", "labelled")}
        warning = (
            f"warning: {self.workdir} does not record the names of its classes: classes are matched by their position, "
        )
        place.write_text(json.dumps(then))
        self.assertAllEqual(self.load().labels, self.began.labels)
        self.assertEqual(self.said.getvalue().count(warning), 1)

    def test_a_new_class_comes_after_those_that_the_run_began_with_and_is_named(self):
        (self.pictures / "ant").mkdir()
        for number in range(2):
            (self.pictures / "ant" / f"{number}.png").write_bytes((self.pictures / f"cat/{number}.png").read_bytes())
        data = self.load()
        self.assertEqual(data.source.class_names, ("cat", "dog", "ant"))
        for images in (data.source.train, data.source.test):
            by_name = [data.source.class_names[label] for label in images.labels]
            self.assertEqual(by_name, [name.split("/")[0] for name in images.names])
        self.assertAllEqual(data.labels[data.labels >= 0], data.source.train.labels[data.labels >= 0])
        self.assertRegex(self.said.getvalue(), "have changed since the run began: .*new class: 'ant' \\(2\\)")

    def test_a_class_without_pictures_keeps_its_label(self):
        for path in (self.pictures / "cat").iterdir():
            path.unlink()
        data = self.load()
        self.assertEqual(data.source.class_names, ("cat", "dog"))
        self.assertAllEqual(data.source.train.labels, [1, 1, 1])
        self.assertIn("'cat' (2 → 0)", self.said.getvalue())

    def test_pictures_that_moved_are_found_where_they_are_said_to_be(self):
        moved = self.pictures.with_name("moved")
        self.pictures.rename(moved)
        with self.assertRaisesRegex(ValueError, "if the pictures have moved, name their place with --data"):
            self.load()
        there = self.place(moved)
        data = self.load({"data": there.data, "test": there.test})
        self.assertAllEqual(data.labels, self.began.labels)
        self.assertNotIn("changed", self.said.getvalue())


if __name__ == "__main__":
    tf.test.main()
