"""Tests of semppl.trainers.pretrained.initial_encoder."""

import dataclasses
import pathlib

import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.runs import checkpoints, folder
from semppl.tests import testing, tiny
from semppl.trainers import pretrain
from semppl.trainers.pretrained import initial_encoder

_SUPERVISED = {"method": "supervised", "labelled_batch_size": 16, "queue_size": 16}


def _build(hyperparameters):
    return pretrain.build_model(hyperparameters, tiny.NUM_CLASSES, jit_compile=False)


def _noise(variable):
    return tf.random.stateless_uniform(variable.shape, [1, variable.shape.num_elements()], 0.5, 1.5)


class InitialEncoderTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.workdir = pathlib.Path(self.create_tempdir().full_path)
        settings = Hyperparameters(**tiny.settings())
        with folder.open_run(self.workdir, settings):
            model = _build(settings)
            for variable in model.online.encoder.variables:  # its running statistics too
                variable.assign(_noise(variable))
            checkpoints.RunCheckpoints(model, self.workdir).save()
        self.encoder = [variable.numpy() for variable in model.online.encoder.variables]

    def _settings(self, **changes):
        return Hyperparameters(**tiny.settings(initial_run=str(self.workdir), seed=8, **changes))

    @parameterized.parameters({"embedding_width": 5, "head_width": 7, "large_views": 3}, _SUPERVISED)
    def test_networks_begin_with_the_encoder_of_the_run_and_heads_of_their_own(self, **changes):
        settings = self._settings(**changes)
        initial_encoder.check_initial_run(settings)
        model, untouched = _build(settings), _build(settings)
        initial_encoder.start_from_initial_run(model, settings)
        networks = [model.online] if changes == _SUPERVISED else [model.online, model.target]
        heads = [*model.online.projector.variables, *model.online.predictor.variables]
        untouched_heads = [*untouched.online.projector.variables, *untouched.online.predictor.variables]
        pairs = [pair for network in networks for pair in zip(network.encoder.variables, self.encoder, strict=True)]
        for its, expected in [*pairs, *zip(heads, untouched_heads, strict=True)]:
            self.assertAllEqual(its, expected)
        self.assertFalse(any((variable.numpy() != 0).any() for variable in model.optimizer.variables))

    def test_replicas_all_begin_with_it(self):
        strategy, settings = testing.two_replicas(), self._settings()
        with strategy.scope():
            model = _build(settings)
        initial_encoder.start_from_initial_run(model, settings)
        for variable, expected in zip(model.target.encoder.variables, self.encoder, strict=True):
            for copy in strategy.experimental_local_results(variable):
                self.assertAllEqual(copy, expected)

    @parameterized.parameters(("width", 0.25), ("norm", "group"), ("encoder", "resnet18"), ("pixel_mean", (0.4,)))
    def test_another_encoder_is_refused_and_named(self, flag, value):
        settings = self._settings(**{flag: value})
        with self.assertRaises(ValueError) as caught:
            initial_encoder.check_initial_run(settings)
        there = getattr(Hyperparameters.load(self.workdir), flag)
        expected = f"--{flag} must be that of --initial_run={self.workdir}, {there}. Received: {value}"
        self.assertEqual(str(caught.exception), expected)

    def test_a_folder_without_a_run_or_without_a_checkpoint_is_refused_and_named(self):
        empty = self.create_tempdir().full_path
        settings = dataclasses.replace(self._settings(), initial_run=empty)
        with self.assertRaisesRegex(ValueError, rf"^--initial_run must be the folder of a run.*{empty}"):
            initial_encoder.check_initial_run(settings)
        (pathlib.Path(empty) / "hyperparameters.json").write_text(settings.to_json())
        with self.assertRaisesRegex(ValueError, rf"^--initial_run must hold a checkpoint. Received: {empty}"):
            initial_encoder.check_initial_run(settings)

    def test_a_run_that_needs_none_needs_no_folder(self):
        initial_encoder.check_initial_run(Hyperparameters(**tiny.settings()))


if __name__ == "__main__":
    tf.test.main()
