"""Tests of semppl.runs.data_record."""

import json
import pathlib

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.runs import data_record
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)

_CLASSES = ("cat", "dog")


def _described(names=("a", "b", "c"), labels=(0, 1, -1), class_names=_CLASSES):
    return data_record.describe_data(names, np.array(labels, np.int32), class_names)


class DataRecordTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.workdir = pathlib.Path(self.create_tempdir().full_path)

    def test_the_data_are_described_by_counts_and_classes(self):
        data = _described()
        self.assertEqual((data["images"], data["labelled"]), (3, 2))
        self.assertEqual((data["class_names"], data["labelled_by_class"]), (["cat", "dog"], [1, 1]))

    def test_a_run_goes_on_with_the_data_that_it_began_with(self):
        data = _described()
        data_record.require_same_data(self.workdir, data, begun=True)  # of a run older than `data.json`
        data_record.require_same_data(self.workdir, data, begun=True)
        self.assertEqual(data_record.read_data(self.workdir), data)

    @parameterized.parameters(
        ({"names": ("a", "b", "d")}, "other images"),
        ({"labels": (1, 0, -1)}, "labels of other images"),
        ({"labels": (0, 1, 1)}, "3 images, 3 labelled, where there were 3 images, 2 labelled; other .*: 'dog' .1 → 2."),
        ({"names": ("a", "b"), "labels": (0, 1)}, "2 images, 2 labelled, where there were 3 images, 2 labelled"),
        ({"labels": (1, 2, 0), "class_names": ("ant", "cat", "dog")}, "new class: 'ant' .1."),
        ({"labels": (0, -1, 0), "class_names": ("cat",)}, "class without an image: 'dog'"),
    )
    def test_what_changed_is_said(self, change, message):
        data_record.require_same_data(self.workdir, _described(), begun=False)
        with self.assertRaisesRegex(ValueError, f"^--data must be the images .* Received: .*{message}"):
            data_record.require_same_data(self.workdir, _described(**change), begun=True)
        data_record.require_same_data(self.workdir, _described(**change), begun=False)
        data_record.require_same_data(self.workdir, _described(**change), begun=True)

    def test_the_description_of_an_older_release_is_compared_in_what_it_says(self):
        old = {name: _described()[name] for name in ("images", "labelled", "names_and_labels_sha256")}
        (self.workdir / "data.json").write_text(json.dumps(old))
        data_record.require_same_data(self.workdir, _described(), begun=True)
        with self.assertRaisesRegex(ValueError, "Received: other images"):
            data_record.require_same_data(self.workdir, _described(labels=(1, 0, -1)), begun=True)

    def test_many_classes_are_counted(self):
        names = tuple("abcdefgh")
        found = data_record.changes(_described(), _described(class_names=(*_CLASSES, *names)))
        self.assertIn("new class: 'a' (0), 'b' (0), 'c' (0), 'd' (0), 'e' (0) and 3 more", found)


if __name__ == "__main__":
    tf.test.main()
