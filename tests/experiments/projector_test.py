"""Tests of semppl.experiments.projector."""

import csv
import pathlib
from unittest import mock

import numpy as np
from absl.testing import absltest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import projector_config_pb2

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL, ImageSet
from semppl.evaluation.advice.embedded import Embedded
from semppl.experiments import projector
from semppl.tests import testing, tiny  # noqa: F401  (testing parses the flags)


def _embedded(**changes):
    """Six images: two labelled, two of each class near these, one of which is of the other class, and one unknown."""
    features = np.array([[9.0, 0], [0, 2], [3, 0.1], [0.2, 1], [1, 0.3], [0.1, 1]], np.float32)
    truth = np.array([0, 1, 0, 1, 1, NO_LABEL], np.int32)
    pixels = np.stack([np.full([8, 4, 1], 40 * number, np.uint8) for number in range(6)])
    values = {
        "images": ImageSet(pixels, truth, tuple("abcdef")),
        "labels": np.array([0, 1, NO_LABEL, NO_LABEL, NO_LABEL, NO_LABEL], np.int32),
        "class_names": ("cat", "dog"),
        "features": features,
        "hyperparameters": Hyperparameters(**tiny.settings()),
        "step": 7,
        "origin": "the features",
    }
    return Embedded(**(values | changes))


class ProjectorTest(absltest.TestCase):
    def test_columns_have_labels_votes_and_truth(self):
        columns = projector.columns_of(_embedded(), np.arange(6))
        self.assertEqual(columns["name"], list("abcdef"))
        self.assertEqual(columns["label"], ["cat", "dog", "", "", "", ""])
        self.assertEqual(columns["pseudo_label"], ["", "", "cat", "dog", "cat", "dog"])
        self.assertEqual(columns["truth"], ["cat", "dog", "cat", "dog", "dog", ""])
        self.assertEqual(columns["right"], ["yes", "yes", "yes", "yes", "no", ""])
        # Of two voters at cosines a and b, the nearer has the share 1 / (1 + exp((b - a) / 0.1)).
        cosines = np.array([3, 0.1]) / np.hypot(3, 0.1)
        share = 1 / (1 + np.exp((cosines[1] - cosines[0]) / 0.1))
        self.assertEqual(columns["vote_share"][:3], ["", "", f"{share:.2f}"])
        self.assertEqual(projector.columns_of(_embedded(), np.array([4]))["pseudo_label"], ["cat"])

    def test_the_folder_has_vectors_columns_and_thumbnails_of_evenly_spaced_images_and_replaces_a_former_one(self):
        workdir = pathlib.Path(self.create_tempdir().full_path) / "run"
        with mock.patch.object(projector, "embedded_by_run", return_value=_embedded()) as embed:
            projector.project(workdir)
            folder = projector.project(workdir, images=3)
        embed.assert_called_with(workdir, joint=True)
        self.assertEqual(folder, workdir / "tensorboard" / "run" / "projector")
        vectors = np.loadtxt(folder / "tensors.tsv", delimiter="\t")
        np.testing.assert_allclose(vectors, _embedded().features[[0, 2, 5]])
        with (folder / "metadata.tsv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        self.assertEqual([row["name"] for row in rows], ["a", "c", "f"])
        text = (folder / "projector_config.pbtxt").read_text(encoding="utf-8")
        (shown,) = text_format.Parse(text, projector_config_pb2.ProjectorConfig()).embeddings
        self.assertEqual(list(shown.sprite.single_image_dim), [64, 64])
        with Image.open(folder / "sprite.png") as sprite:
            self.assertEqual(sprite.size, (128, 128))
            found = [sprite.getpixel((64 * (at % 2) + 32, 64 * (at // 2) + 32))[0] for at in range(3)]
            self.assertEqual(found, [0, 80, 200])
            self.assertEqual(sprite.getpixel((2, 32)), (128, 128, 128))  # beside an image that is higher than wide

    def test_a_run_without_labels_is_refused(self):
        unknown = _embedded(labels=np.full(6, NO_LABEL, np.int32))
        with (
            mock.patch.object(projector, "embedded_by_run", return_value=unknown),
            self.assertRaisesRegex(ValueError, "^--workdir must be a run with labelled images.*Received: run, without"),
        ):
            projector.project("run")


if __name__ == "__main__":
    absltest.main()
