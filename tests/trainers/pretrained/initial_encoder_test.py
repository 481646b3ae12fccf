"""Tests of semppl.trainers.pretrained.initial_encoder."""

import dataclasses
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import ImageSet
from semppl.layers.encoders import whitening
from semppl.layers.encoders.freezing import variables_of
from semppl.runs import checkpoints, folder, initial_weights
from semppl.tests import testing, tiny
from semppl.trainers import pretrain
from semppl.trainers.pretrained import initial_encoder

_SUPERVISED = {"method": "supervised", "labelled_batch_size": 16, "queue_size": 16}


def _build(hyperparameters):
    return pretrain.build_model(hyperparameters, tiny.NUM_CLASSES, jit_compile=False)


def _noise(variable):
    return tf.random.stateless_uniform(variable.shape, [1, variable.shape.num_elements()], 0.5, 1.5)


class WhiteningTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters({}, _SUPERVISED)
    def test_every_network_is_fitted_to_evenly_spaced_pictures(self, **changes):
        size = {"large_size": 9, "small_size": 9, "pixel_mean": (0.3,), "pixel_stddev": (0.5,)}
        settings = Hyperparameters(**tiny.settings(encoder="resnet9", width=0.125, **size, **changes))
        model, pictures = _build(settings), np.random.default_rng(0).uniform(0, 1, (4001, 9, 9, 1)).astype(np.float32)
        pictures[1::2] = 0.5  # none of the 2,000 but a few
        images = ImageSet(pictures, np.zeros(4001, np.int32))
        initial_encoder.fit_whitening(model, images, settings)
        chosen = np.unique(np.linspace(0, 4000, 2000).astype(int))
        expected = whitening.whitening_kernel((pictures[chosen] - 0.3) / 0.5)
        networks = [model.online] if changes == _SUPERVISED else [model.online, model.target]
        for network in networks:
            self.assertAllClose(network.encoder.whitening.convolution.kernel, expected, rtol=1e-4, atol=1e-5)

    def test_of_large_pictures_fewer_are_looked_at(self):
        sizes = {"large_size": 64, "inference_size": 80, "small_views": 0}  # the layer sees views
        settings = Hyperparameters(**tiny.settings(encoder="resnet9", width=0.125, **sizes))
        model, images = _build(settings), ImageSet(np.zeros((600, 64, 64, 1), np.float32), np.zeros(600, np.int32))
        with mock.patch.object(whitening.PatchWhitening, "fit") as fit:
            initial_encoder.fit_whitening(model, images, settings)
        self.assertEqual(fit.call_args.args[0].shape, (500, 64, 64, 1))  # as many pixels as 2,000 pictures of 32×32

    def test_other_encoders_stay_as_they_are(self):
        settings = Hyperparameters(**tiny.settings())
        model = _build(settings)
        before = [variable.numpy() for variable in model.variables]
        initial_encoder.fit_whitening(
            model, ImageSet(np.zeros((4, 8, 8, 1), np.float32), np.zeros(4, np.int32)), settings
        )
        for variable, value in zip(model.variables, before, strict=True):
            self.assertAllEqual(variable, value)


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
        self.encoder_in_order = [variable.numpy() for variable in variables_of(model.online.encoder)]

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

    @parameterized.parameters({}, _SUPERVISED)
    def test_frozen_parts_stay_as_they_began_and_the_target_follows_the_others(self, **changes):
        settings = self._settings(frozen_stages=1, frozen_norms="true", target_decay=0.5, **changes)
        model, values = _build(settings), settings.__dict__
        initial_encoder.start_from_initial_run(model, settings)
        networks = [model.online] if changes else [model.online, model.target]
        for network in networks:
            for variable, expected in zip(variables_of(network.encoder), self.encoder_in_order, strict=True):
                self.assertAllEqual(variable, expected)
        batch = tiny.batch(0, values)
        model.train_step({name: tf.constant(value) for name, value in batch.items()})
        for network in networks:
            trained = {variable.ref() for variable in network.encoder.trainable_variables}
            self.assertLen(trained, 2)  # the kernels of the second and the third stage
            for variable, before in zip(variables_of(network.encoder), self.encoder_in_order, strict=True):
                moved = float(tf.reduce_max(abs(variable - before))) > 1e-4
                self.assertEqual(moved, variable.ref() in trained, variable.name)

    def test_where_the_weights_come_from_is_described(self):
        described = initial_encoder.describe_start(self._settings(), None)
        digest = checkpoints.weights_sha256(checkpoints.latest_checkpoint(self.workdir))
        expected = {"initial_run": str(self.workdir), "sha256": digest, "its_initial_weights": None}
        self.assertEqual(described, expected)
        folder.write_initial_weights(self.workdir, described)
        again = initial_encoder.describe_start(self._settings(), None)
        self.assertEqual(again["its_initial_weights"], expected)

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


_COLOUR = {"pixel_mean": (0.5,) * 3, "pixel_stddev": (0.25,) * 3}
_SIZES = {"large_size": 32, "small_size": 32}
_MOBILE_NET = {"encoder": "keras:MobileNet", "width": 1.0} | _COLOUR | _SIZES


class InitialWeightsTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(self.create_tempdir().full_path) / "mine.weights.h5"

    def _settings(self, **changes):
        return Hyperparameters(**tiny.settings(**(_MOBILE_NET | {"initial_weights": str(self.path)} | changes)))

    @parameterized.parameters({}, _SUPERVISED)
    def test_networks_begin_with_the_weights_of_the_file_and_frozen_norms(self, **changes):
        keras = tf.keras.applications.MobileNet(include_top=False, weights=None, pooling="avg", input_shape=(32, 32, 3))
        keras.save_weights(self.path)
        settings = self._settings(**changes)
        initial_weights.check_initial_weights(settings)
        weights, model = initial_weights.read_initial_weights(settings), _build(settings)
        initial_encoder.start_from_weights(model, weights)
        images = tf.random.stateless_uniform([2, 32, 32, 3], [1, 2])
        expected = keras(tf.keras.applications.mobilenet.preprocess_input(images * 255.0))
        for network in [model.online] if changes else [model.online, model.target]:
            for training in (False, True):
                self.assertAllClose(network.features(images, training=training), expected, rtol=1e-4, atol=1e-5)
        described = initial_encoder.describe_start(settings, weights)
        self.assertEqual(described["file"], "mine.weights.h5")
        self.assertIsNone(described["licence"])
        self.assertLen(described["sha256"], 64)
        imagenet = dataclasses.replace(settings, initial_weights="imagenet")
        self.assertEqual(initial_encoder.describe_start(imagenet, weights)["licence"], "Apache-2.0")

    def test_norms_are_frozen_unless_asked_otherwise(self):
        for frozen_norms, weights, expected in (
            ("auto", "a.h5", True),
            ("auto", "", False),
            ("false", "a.h5", False),
            ("true", "", True),
        ):
            settings = self._settings(frozen_norms=frozen_norms, initial_weights=weights)
            self.assertIs(settings.network["frozen_norms"], expected)

    def test_weights_that_cannot_be_used_are_refused(self):
        message = "--initial_weights must come with the encoder .* Received: --encoder=convnet"
        with self.assertRaisesRegex(ValueError, f"^{message}$"):
            initial_weights.check_initial_weights(self._settings(encoder="convnet"))
        initial_weights.check_initial_weights(self._settings(encoder="convnet", initial_weights=""))
        message = "--initial_weights must be an existing file, or imagenet. Received: .*mine.weights.h5"
        with self.assertRaisesRegex(ValueError, f"^{message}$"):
            initial_weights.read_initial_weights(self._settings())

    def test_weights_and_a_run_are_not_both_the_start(self):
        with self.assertRaisesRegex(ValueError, "^--initial_weights must be empty with --initial_run. Received: a.h5$"):
            self._settings(initial_run="run", initial_weights="a.h5")

    @parameterized.parameters(
        ("convnet", 4, "in 0..3, the stages of convnet"),
        ("keras:MobileNet", 5, "in 0..4, the stages of keras:MobileNet"),
    )
    def test_stages_that_are_not_there_are_refused(self, encoder, stages, allowed):
        settings = self._settings(encoder=encoder, frozen_stages=stages)
        with self.assertRaisesRegex(ValueError, f"^--frozen_stages must be {allowed}. Received: {stages}$"):
            initial_encoder.check_frozen_stages(settings)
        initial_encoder.check_frozen_stages(dataclasses.replace(settings, frozen_stages=stages - 1))


if __name__ == "__main__":
    tf.test.main()
