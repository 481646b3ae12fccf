"""A folder of pictures without any label: examined, trained on, exported, and refused by methods that need a label."""

import contextlib
import io
import json
import os
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import semppl
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.objective import WITHOUT_LABELS
from semppl.tests import testing
from semppl.tests.data import pictures
from semppl.trainers import pretrain
from semppl.trainers.methods import METHODS

_SMALL = {
    "preset": "own_pictures_from_scratch_cpu",
    "shrink": 0,
    "encoder": "convnet_stride2",
    "large_size": 16,
    "width": 0.125,
    "head_width": 16,
    "embedding_width": 8,
    "batch_size": 12,
    "labelled_batch_size": 4,  # of a preset; there are none
    "steps": 2,
    "warmup_steps": 0,
}


class NoLabelsTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enter_context(mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(self.folder / "user")}))
        pictures.write_two_classes(self.folder / "train")
        self.data = f"folder:{self.folder}/train"

    @testing.slow
    def test_a_run_is_examined_trained_and_exported(self):
        said = io.StringIO()
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(said):
            report = semppl.doctor(**_SMALL, data=self.data, method="simclr", trial_steps=0)
            semppl.pretrain(self.folder / "run", **_SMALL, data=self.data, method="simclr")
            card = semppl.export(self.folder / "run", self.folder / "served" / "1")
        self.assertEqual([problem["text"] for problem in report["problems"] if problem["stops"]], [])
        self.assertStartsWith(report["verdict"], "ready")
        self.assertIn("no image has a label: --labelled_batch_size is 0, not 4", said.getvalue())
        self.assertNotIn("semppl.evaluation.evaluate", said.getvalue())
        settings = json.loads((self.folder / "run" / "hyperparameters.json").read_text(encoding="utf-8"))
        self.assertEqual((settings["labelled_batch_size"], settings["steps"]), (0, 2))
        embeddings = semppl.load(self.folder / "served" / "1").embed(sorted((self.folder / "train").rglob("*.png"))[:3])
        self.assertAllClose(np.linalg.norm(embeddings, axis=1), np.ones(3), rtol=1e-3)
        self.assertNotEmpty(card)

    @parameterized.parameters(sorted(METHODS))
    def test_methods_that_use_labels_alone_ask_for_one(self, name):
        settings = Hyperparameters(data=self.data, method=name, batch_size=12, steps=2, warmup_steps=0)
        if name in WITHOUT_LABELS:
            self.assertEqual(pretrain.prepare_data(settings, 1)[2].labelled_batch_size, 0)
            return
        with self.assertRaisesRegex(ValueError, "^--data must be such that an image has a label. Received: folder:"):
            pretrain.prepare_data(settings, 1)


if __name__ == "__main__":
    tf.test.main()
