"""Tests of --precision=bfloat16 in whole steps: it agrees with float32, and nothing else is rounded."""

import pathlib

import numpy as np
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver, parameterized

from semppl import configs
from semppl.configs.hyperparameters import Hyperparameters
from semppl.evaluation.evaluate import evaluate
from semppl.layers.blocks.precision import PRECISIONS
from semppl.tests import testing, tiny
from semppl.trainers import pretrain
from semppl.trainers.run_options import RunOptions


def _model(precision, **changes):
    settings = Hyperparameters(**tiny.settings(**changes, precision=precision))
    return pretrain.build_model(settings, tiny.NUM_CLASSES, jit_compile=False)


class StepTest(tf.test.TestCase, parameterized.TestCase):
    def test_a_step_agrees_with_that_in_float32(self):
        settings = tiny.settings(batch_size=64, labelled_batch_size=16, queue_size=32)
        batch = {name: tf.constant(value) for name, value in tiny.batch(0, settings).items()}
        reports = {}
        for precision in ("float32", "bfloat16"):
            model = _model(precision, batch_size=64, labelled_batch_size=16, queue_size=32)
            anchors = model.predict_views(batch)
            self.assertEqual((anchors.dtype, model.project_views(batch).dtype), (tf.float32, tf.float32))
            reports[precision] = model.train_step(batch)
            self.assertEqual({value.dtype for value in reports[precision].values()}, {tf.float32})
        for name in ("loss", "contrastive_augmentation", "contrastive_semantic", "embedding_spread"):
            self.assertAllClose(reports["bfloat16"][name], reports["float32"][name], rtol=0.02, atol=0.01, msg=name)
        self.assertAllClose(reports["bfloat16"]["gradient_norm"], reports["float32"]["gradient_norm"], rtol=0.1, atol=0)

    def test_the_gradient_points_where_it_does_in_float32(self):
        settings = tiny.settings(batch_size=64, labelled_batch_size=16, queue_size=32)
        batch = {name: tf.constant(value) for name, value in tiny.batch(0, settings).items()}
        gradients = []
        for precision in ("float32", "bfloat16"):
            model = _model(precision, batch_size=64, labelled_batch_size=16, queue_size=32)
            with tf.GradientTape() as tape:
                value = tf.reduce_sum(model.predict_views(batch)[:, :, 0])
            flat = tape.gradient(value, model.online.trainable_variables)
            self.assertEqual({gradient.dtype for gradient in flat}, {tf.float32})
            gradients.append(np.concatenate([gradient.numpy().ravel() for gradient in flat]))
        exact, rounded = gradients
        self.assertGreater(exact @ rounded / np.linalg.norm(exact) / np.linalg.norm(rounded), 0.99)

    @parameterized.parameters("semppl", "supervised")
    def test_all_that_lasts_is_float32(self, method):
        labelled = {"labelled_batch_size": 16, "queue_size": 16} if method == "supervised" else {}
        model = _model("bfloat16", method=method, **labelled)
        variables = [*model.variables, *model.optimizer.variables]
        self.assertEqual({variable.dtype for variable in variables if variable.dtype.is_floating}, {tf.float32})
        if method == "supervised":
            self.assertEqual(model.classifier.compute_dtype, "float32")
        else:
            self.assertEqual(model.target.encoder.convolutions[0].compute_dtype, "bfloat16")
        self.assertEqual(model.online.encoder.convolutions[0].compute_dtype, "bfloat16")

    @testing.slow
    def test_two_replicas_take_the_step_of_one(self):
        reports = []
        for replicas in (1, 2):
            strategy = testing.replicas(replicas)
            with strategy.scope():
                model = _model("bfloat16")
            batch = tiny.distribute(tiny.batch(0, tiny.settings()), strategy, tiny.settings()["labelled_batch_size"])
            step = tf.function(lambda batch, model=model, strategy=strategy: strategy.run(model.train_step, (batch,)))
            reports.append(strategy.experimental_local_results(step(batch)["loss"])[0])
        self.assertAllClose(*reports, rtol=0.02, atol=0)


@testing.slow
class TrainingTest(tf.test.TestCase):
    def test_digits_are_learnt_as_well_as_in_float32(self):
        # The mean over three draws of the labels must not differ by more than these draws do among themselves.
        accuracies = {precision: [self._accuracy(precision, seed) for seed in range(3)] for precision in PRECISIONS}
        spread = max(accuracies["float32"]) - min(accuracies["float32"])
        self.assertAllClose(
            np.mean(accuracies["bfloat16"]), np.mean(accuracies["float32"]), rtol=0, atol=spread, msg=f"{accuracies}"
        )
        self.assertGreater(min(accuracies["bfloat16"]), 0.8)

    def _accuracy(self, precision, seed):
        workdir = pathlib.Path(self.create_tempdir().full_path) / "run"
        preset = pathlib.Path(configs.__file__).parent / "digits.flags"
        changes = [f"--precision={precision}", f"--seed={seed}", f"--label_seed={seed}"]
        with flagsaver.flagsaver():
            flags.FLAGS(["pretrain", f"--workdir={workdir}", f"--flagfile={preset}", *changes])
            pretrain.pretrain(pretrain.hyperparameters_from_flags(), workdir, RunOptions(strategy="default"))
        return evaluate(workdir, evaluators=["nearest_neighbours"])["accuracy"]["projections"]["nearest_neighbours"]


if __name__ == "__main__":
    tf.test.main()
