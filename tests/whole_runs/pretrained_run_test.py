"""A run from pretrained weights, all the way: trained, stopped, resumed, exported and converted."""

import json
import pathlib
import shutil
import tempfile
import unittest
from importlib import util

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export import convert
from semppl.export.export_model import export
from semppl.export.model import runtimes
from semppl.layers.inputs.preparation import inference_preparation
from semppl.runs import checkpoints
from semppl.tests import testing
from semppl.tests.data.pictures import write_two_classes
from semppl.tests.trainers import runs
from semppl.trainers.pretrain import pretrain
from semppl.trainers.run_options import RunOptions

_RUN = {
    "encoder": "keras:MobileNetV2",
    "labels_per_class": 3,
    "test": "0.3",
    "recipe": "cifar",
    "large_size": 32,
    "large_views": 2,
    "small_views": 0,
    "head_width": 16,
    "embedding_width": 8,
    "negatives": 3,
    "batch_size": 8,
    "labelled_batch_size": 4,
    "queue_size": 16,
    "optimiser": "adamw",
    "learning_rate": 0.032,
    "encoder_rate_factor": 0.1,
    "frozen_norms": "false",
    "frozen_stages": 1,
    "steps": 4,
    "warmup_steps": 0,
}
_HAS_ONNX = all(util.find_spec(package) for package in ("tf2onnx", "onnx", "onnxruntime"))


@testing.slow
class PretrainedRunTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        write_two_classes(cls.folder / "pictures")
        weights = cls.folder / "weights.h5"
        tf.keras.utils.set_random_seed(1)
        tf.keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(
            weights
        )
        data = f"folder:{cls.folder}/pictures?labels=folders"
        cls.settings = Hyperparameters(**_RUN, data=data, initial_weights=str(weights))
        cls.workdir = cls.folder / "run"
        pretrain(cls.settings, cls.workdir, RunOptions(checkpoint_every=2))

    def test_a_run_that_is_stopped_ends_with_the_same_weights_without_the_file(self):
        stopped = self.folder / "stopped"
        shutil.copytree(self.workdir, stopped)
        for path in (stopped / "checkpoints").glob("step-4*"):
            path.unlink()
        state = 'model_checkpoint_path: "step-2"\nall_model_checkpoint_paths: "step-2"\n'
        (stopped / "checkpoints" / "checkpoint").write_text(state)
        (stopped / "done.json").unlink()
        elsewhere = pathlib.Path(self.settings.initial_weights)
        content = elsewhere.read_bytes()
        elsewhere.unlink()
        try:
            pretrain(self.settings, stopped, RunOptions(checkpoint_every=2))
        finally:
            elsewhere.write_bytes(content)
        self.assertEqual(runs.digest(stopped), runs.digest(self.workdir))

    def test_an_export_answers_like_the_run_and_says_where_the_weights_come_from(self):
        model = self.folder / "served" / "1"
        card = export(self.workdir, model)
        self.assertEqual(card["initial_weights"], json.loads((self.workdir / "weights.json").read_text()))
        self.assertEqual(card["initial_weights"]["file"], "weights.h5")
        hyperparameters, network, _ = checkpoints.load_online(self.workdir)
        images = np.random.default_rng(1).uniform(0, 1, (3, 40, 32, 3)).astype(np.float32)
        prepare = inference_preparation(32, centre_crop=1.0)
        expected = network.project(prepare(images))
        loaded = tf.saved_model.load(str(model))
        answers = loaded.signatures["embed_images"](images=tf.constant(images))["embedding"]
        self.assertAllClose(answers, expected, rtol=0, atol=1e-4)
        self.assertEqual(hyperparameters.encoder, "keras:MobileNetV2")

    @unittest.skipUnless(_HAS_ONNX, 'the extra "convert" is not installed')
    def test_onnx_answers_like_the_export(self):
        model, out = self.folder / "for_onnx" / "1", self.folder / "onnx"
        export(self.workdir, model, fine_tunable=False, memory=False)
        report = convert.convert(model, "onnx", out)
        self.assertLess(report["signatures"]["embed_images"]["largest_difference"], convert.TOLERANCE)
        images = np.random.default_rng(1).uniform(0, 1, (3, 40, 32, 3)).astype(np.float32)
        expected = tf.saved_model.load(str(model)).signatures["embed_images"](images=tf.constant(images))["embedding"]
        answers = runtimes.run_onnx((out / "embed_images.onnx").read_bytes())(images)
        self.assertAllClose(answers["embedding"], expected, rtol=0, atol=1e-4)


if __name__ == "__main__":
    tf.test.main()
