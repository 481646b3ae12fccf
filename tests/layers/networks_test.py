"""Tests of semppl.layers.networks."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers import moving_average, networks

_ARGUMENTS = {
    "encoder": "convnet",
    "width": 0.125,
    "norm": "batch",
    "head_width": 12,
    "embedding_width": 6,
    "pixel_mean": (0.5, 0.25),
    "pixel_stddev": (0.25, 0.5),
}


def _build(kind, seed=0, **changes):
    tf.keras.utils.set_random_seed(seed)
    network = kind(**(_ARGUMENTS | changes))
    network.build([None, 8, 8, 2])
    return network


def _images(count=5, seed=0):
    return tf.constant(np.random.default_rng(seed).uniform(0, 1, (count, 8, 8, 2)), tf.float32)


def _statistics(network):
    return [variable.numpy() for variable in network.non_trainable_variables]


class UnitNormTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(tf.float32, tf.float64)
    def test_rows_are_scaled_to_length_one(self, dtype):
        embeddings = np.random.default_rng(0).standard_normal((2, 3, 4)) * 100
        normalised = networks.unit_norm(tf.constant(embeddings, dtype))
        self.assertEqual(normalised.dtype, dtype)
        for place in np.ndindex(2, 3):
            length = np.sqrt(np.sum(embeddings[place] ** 2))
            self.assertAllClose(normalised[place], embeddings[place] / length, rtol=1e-6, atol=1e-6)

    @parameterized.parameters(tf.bfloat16, tf.float16)
    def test_half_precision_is_normalised_in_float32(self, dtype):
        # 300² is beyond float16, and bfloat16 would leave lengths a hundredth off.
        normalised = networks.unit_norm(tf.constant([[300.0, 400.0], [3.0, 5.0]], dtype))
        self.assertEqual(normalised.dtype, tf.float32)
        self.assertAllClose(normalised, [[0.6, 0.8], [3 / 34**0.5, 5 / 34**0.5]], rtol=1e-6, atol=0)

    def test_a_zero_stays_zero_with_a_finite_gradient(self):
        zero = tf.zeros([1, 3])
        with tf.GradientTape() as tape:
            tape.watch(zero)
            normalised = networks.unit_norm(zero)
        self.assertAllEqual(normalised, zero)
        self.assertAllInRange(tape.gradient(normalised, zero), -1e7, 1e7)


class PixelNormalisationTest(tf.test.TestCase):
    def test_each_channel_is_centred_and_scaled(self):
        images = _images()
        pixels = networks.PixelNormalisation((0.5, 0.25), (0.25, 0.5))(images)
        self.assertAllClose(pixels[..., 0], (images[..., 0] - 0.5) / 0.25, rtol=1e-6, atol=1e-6)
        self.assertAllClose(pixels[..., 1], (images[..., 1] - 0.25) / 0.5, rtol=1e-6, atol=1e-6)


class FeatureScalingTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("float32", "mixed_bfloat16", "mixed_float16")
    def test_nothing_is_rounded_before_the_mean_is_subtracted(self, policy):
        scaling = networks.FeatureScaling(dtype=policy)
        scaling.build([None, 3])
        scaling.fit(np.full(3, 5.0, np.float32), np.array([0.05, 0.05, 0.0], np.float32))
        scaled = scaling(tf.constant([[5.0065, 4.993, 5.25]]))
        self.assertAllClose(scaled, [[0.13, -0.14, 0.25]], rtol=1e-4, atol=1e-4)
        self.assertEqual(scaled.dtype, tf.float32)


class JointTest(tf.test.TestCase):
    def test_features_of_length_two_come_before_projections_of_length_one(self):
        network, images = _build(networks.OnlineNetwork), _images()
        features, projections = (part.numpy() for part in (network.features(images), network.project(images)))
        joint = network.join_features(network.features(images)).numpy()
        for image in range(len(joint)):
            length = np.sqrt(np.sum(features[image].astype(np.float64) ** 2))
            expected = [2 * value / length for value in features[image]] + list(projections[image])
            self.assertAllClose(joint[image], np.array(expected) / 5**0.5, rtol=1e-5, atol=1e-6)


class NetworksTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(kind=[networks.TargetNetwork, networks.OnlineNetwork], training=[False, True])
    def test_the_parts_follow_one_another(self, kind, training):
        network, images = _build(kind), _images()
        scaled = (images - _ARGUMENTS["pixel_mean"]) / np.array(_ARGUMENTS["pixel_stddev"], np.float32)
        features = network.encoder(scaled, training=training)
        projections = network.projector(features, training=training)
        self.assertAllClose(network.features(images, training=training), features, rtol=1e-5, atol=1e-6)
        expected = projections / np.linalg.norm(projections, axis=-1, keepdims=True)
        self.assertAllClose(network.project(images, training=training), expected, rtol=1e-4, atol=1e-5)
        if kind is networks.OnlineNetwork:
            predictions = network.predictor(projections, training=training)
            expected = predictions / np.linalg.norm(predictions, axis=-1, keepdims=True)
        self.assertAllClose(network(images, training=training), expected, rtol=1e-4, atol=1e-5)

    @parameterized.parameters(networks.TargetNetwork, networks.OnlineNetwork)
    def test_embeddings_have_length_one(self, kind):
        embeddings = _build(kind)(_images(), training=True)
        self.assertEqual(embeddings.shape, [5, 6])
        self.assertAllClose(tf.norm(embeddings, axis=-1), np.ones(5), rtol=1e-6, atol=0)

    @parameterized.parameters(networks.TargetNetwork, networks.OnlineNetwork)
    def test_every_statistic_moves_in_training_and_none_in_inference(self, kind):
        network = _build(kind)
        before = _statistics(network)
        network(_images())
        for value, old in zip(_statistics(network), before, strict=True):
            self.assertAllEqual(value, old)
        network(_images(), training=True)
        for value, old in zip(_statistics(network), before, strict=True):
            self.assertNotAllEqual(value, old)

    def test_the_target_has_no_predictor(self):
        target, online = _build(networks.TargetNetwork), _build(networks.OnlineNetwork)
        self.assertFalse(hasattr(target, "predictor"))
        predictor = {variable.ref() for variable in online.predictor.variables}
        self.assertFalse(predictor & {variable.ref() for variable in online.projecting_variables})
        self.assertLen(online.trainable_variables, len(target.trainable_variables) + 5)

    @parameterized.parameters("batch", "group")
    def test_the_target_follows_the_variable_of_its_own_name(self, norm):
        target = _build(networks.TargetNetwork, seed=1, name="target", norm=norm)
        online = _build(networks.OnlineNetwork, seed=2, name="online", norm=norm)
        pairs = list(zip(target.trainable_variables, online.projecting_variables, strict=True))
        for followed, leader in pairs:
            self.assertEqual(followed.name.removeprefix("target/"), leader.name.removeprefix("online/"))
        moving_average.update_moving_average(target.trainable_variables, online.projecting_variables, 0.0)
        self.assertAllClose(target.features(_images()), online.features(_images()), rtol=1e-5, atol=1e-6)
        self.assertAllClose(target(_images()), online.project(_images()), rtol=1e-5, atol=1e-6)

    def test_the_hidden_layer_has_the_asked_width(self):
        online = _build(networks.OnlineNetwork)
        for head in (online.projector, online.predictor):
            self.assertEqual((head.hidden_width, head.output_width, head.norm), (12, 6, "batch"))

    def test_images_of_another_size_are_welcome(self):
        online = _build(networks.OnlineNetwork)
        self.assertEqual(online(tf.zeros([3, 12, 12, 2])).shape, [3, 6])


if __name__ == "__main__":
    tf.test.main()
