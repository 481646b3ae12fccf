"""Tests of semppl.layers.encoders.applications, and of the graph of layers that it copies."""

import os
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.blocks.normalisation import FusedBatchNorm
from semppl.layers.encoders import applications
from semppl.tests import testing

_KERAS = tf.keras.applications
_SCALED_TWICE = ("EfficientNetB0",)
_SLOW_FAMILIES = (
    "ConvNeXtTiny",  # standardised by constants of the network, in a model within the model
    "ResNet50",
    "ResNet50V2",
    "EfficientNetV2B0",
    "RegNetX002",
    "ResNetRS50",
    "InceptionV3",
    "Xception",
)


def _images(size=32, count=2, seed=0):
    return tf.constant(np.random.default_rng(seed).uniform(0, 1, (count, size, size, 3)), tf.float32)


def _fill(variables, seed=0):
    """Gives variables values at which no convention of pixels, and no statistic, goes unnoticed."""
    rng = np.random.default_rng(seed)
    for variable in variables:
        role = variable.name.split("/")[-1].removesuffix(":0")
        fan_in = variable.shape[:2].num_elements() if "depthwise" in role else variable.shape[:-1].num_elements()
        low, high = {"variance": (0.5, 1.5), "moving_variance": (0.5, 1.5), "gamma": (0.8, 1.2)}.get(role, (-0.5, 0.5))
        deviation = (2 / fan_in) ** 0.5 if variable.shape.rank > 1 else 0
        value = rng.normal(0, deviation, variable.shape) if deviation else rng.uniform(low, high, variable.shape)
        variable.assign(tf.cast(value, variable.dtype))


def _own(layer):
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def _encoder(name, images=None, **options):
    encoder = applications.KerasApplication(name, **options)
    encoder(_images() if images is None else images)
    _fill([variable for place in encoder.places for variable in _own(place.layer)])
    return encoder


def _keras(name, encoder, size=None):
    """Returns Keras' own network, for pictures of any size, with the weights of an encoder."""
    shape = (size, size, 3)
    # Keras' networks read the function that downloads weights from a module without a public name.
    data_utils = sys.modules[f"{tf.keras.Model.__module__.split('.')[0]}.src.utils.data_utils"]
    with mock.patch.object(data_utils, "get_file"), mock.patch.object(tf.keras.Model, "load_weights"):
        # EfficientNet has one layer more with these weights.
        model = applications.APPLICATIONS[name](
            include_top=False, weights="imagenet" if name in _SCALED_TWICE else None, pooling="avg", input_shape=shape
        )
    parts = [part for layer in model.layers for part in getattr(layer, "layers", [layer])]
    theirs = [variable for part in parts for variable in _own(part)]
    ours = [variable for place in encoder.places for variable in _own(place.layer)]
    for variable, value in zip(theirs, ours, strict=True):
        variable.assign(value)
    for part in parts:
        part.finalize_state()  # Keras' own way to read new statistics of `Normalization`
    return model


class SameNumbersTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("MobileNetV2", 40),  # pixels in -1..1
        ("VGG16", 32),  # blue first, centred
        ("DenseNet121", 32),  # standardised by ImageNet
        ("MobileNetV3Small", 32),  # scaled within the network
        ("EfficientNetB0", 32),  # standardised by variables of the network
    )
    def test_features_and_number_of_parameters_equal_those_of_keras(self, name, size):
        encoder = _encoder(name)
        model, images = _keras(name, encoder), _images(size, seed=1)
        preprocess = getattr(_KERAS, applications.family(name)).preprocess_input
        expected = model(preprocess(images * 255.0))
        self.assertAllClose(encoder(images), expected, rtol=1e-5, atol=1e-5 * float(tf.reduce_max(abs(expected))))
        self.assertGreater(tf.math.reduce_std(expected), 1e-3)
        self.assertEqual(encoder.count_params(), model.count_params())

    @parameterized.parameters(
        "ConvNeXtTiny", "ResNet50", "ResNet50V2", "EfficientNetV2B0", "RegNetX002", "ResNetRS50", "InceptionV3"
    )
    @testing.slow
    def test_features_of_other_families_equal_those_of_keras_too(self, name):
        size = applications.smallest_size(name) + 5
        encoder = _encoder(name, _images(size))
        model, images = _keras(name, encoder), _images(size, seed=1)
        preprocess = getattr(_KERAS, applications.family(name)).preprocess_input
        expected = model(preprocess(images * 255.0))
        self.assertAllClose(encoder(images), expected, rtol=1e-5, atol=1e-5 * float(tf.reduce_max(abs(expected))))
        self.assertEqual(encoder.count_params(), model.count_params())

    @testing.slow
    def test_features_of_nasnet_equal_those_of_keras_built_for_each_size(self):
        encoder = _encoder("NASNetMobile")
        for size in (33, 48, 64):
            images = _images(size, seed=1)
            expected = _keras("NASNetMobile", encoder, size)(images * 2.0 - 1.0)
            scale = float(tf.reduce_max(abs(expected)))
            self.assertAllClose(encoder(images), expected, rtol=1e-5, atol=1e-5 * scale)


class KerasApplicationTest(tf.test.TestCase, parameterized.TestCase):
    def tearDown(self):
        tf.keras.mixed_precision.set_global_policy("float32")
        super().tearDown()

    @parameterized.parameters(*applications.APPLICATIONS)
    def test_the_smallest_size_is_that_of_keras(self, name):
        size = applications.smallest_size(name)
        with self.assertRaisesRegex(ValueError, f"at least {size}x{size}"):
            applications.APPLICATIONS[name](include_top=False, weights=None, input_shape=(size - 1, size - 1, 3))

    def test_all_networks_are_there(self):
        self.assertLen(applications.APPLICATIONS, 71)
        self.assertContainsSubset({"MobileNetV2", "ConvNeXtTiny", "NASNetLarge", "VGG19"}, applications.APPLICATIONS)

    @testing.slow
    def test_training_on_one_replica_equals_two(self):
        # In float64: through 52 batch norms of random weights, gradients amplify the rounding of float32.
        self.addCleanup(tf.keras.backend.set_floatx, tf.keras.backend.floatx())
        tf.keras.backend.set_floatx("float64")
        tf.keras.mixed_precision.set_global_policy("float64")
        one, two = self._train(1), self._train(2)
        for name, expected in one.items():
            self.assertAllClose(two[name], expected, rtol=1e-6, atol=1e-8, msg=name)

    def _train(self, count):
        """Returns the features of a batch in training mode, all gradients, and all variables afterwards."""
        strategy, images = testing.replicas(count), _images(count=8).numpy().astype(np.float64)
        weights = np.random.default_rng(1).normal(size=(8, 1280))
        with strategy.scope():
            encoder = _encoder("MobileNetV2")

        def split(array):
            parts = np.split(array, count)
            if count == 1:
                return tf.constant(array)
            return strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(parts[context.replica_id_in_sync_group])
            )

        def step(images, weights):
            with tf.GradientTape() as tape:
                features = encoder(images, training=True)
                loss = tf.reduce_sum(features * weights)
            return features, tape.gradient(loss, encoder.trainable_variables)

        features, gradients = tf.function(lambda *batch: strategy.run(step, batch))(split(images), split(weights))
        own = strategy.experimental_local_results
        return (
            {f"gradient {number}": sum(np.array(own(value))) for number, value in enumerate(gradients)}
            | {f"variable {number}": value.numpy() for number, value in enumerate(encoder.variables)}
            | {"features": np.concatenate(own(features))}
        )

    @parameterized.product(jit_compile=[False, True], training=[False, True])
    def test_graph_and_xla_equal_eager(self, jit_compile, training):
        eager, compiled = _encoder("MobileNet"), _encoder("MobileNet")
        images = _images(64, count=8, seed=2)
        call = tf.function(lambda x: compiled(x, training=training), jit_compile=jit_compile)
        expected = eager(images, training=training)
        self.assertAllClose(call(images), expected, rtol=1e-3, atol=1e-4)
        for variable, value in zip(compiled.variables, eager.variables, strict=True):
            self.assertAllClose(variable, value, rtol=1e-4, atol=1e-5)

    def test_bfloat16_is_near_float32_with_pixels_prepared_in_float32(self):
        images = _images(64)
        expected = _encoder("MobileNetV2")(images)
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        encoder = _encoder("MobileNetV2")
        with mock.patch.object(encoder, "_preprocess", wraps=encoder._preprocess) as preprocess:
            features = encoder(images)
        self.assertEqual(preprocess.call_args.args[0].dtype, tf.float32)
        self.assertBetween(float(tf.norm(features - expected) / tf.norm(expected)), 1e-4, 0.3)
        self.assertEqual(encoder.places[0].layer.compute_dtype, "bfloat16")
        for result in (features, encoder(images, training=True), *encoder.variables):
            self.assertEqual(result.dtype, tf.float32)

    def test_averages_move_by_a_tenth_whatever_the_network_says(self):
        encoder, images = _encoder("MobileNetV2"), _images()
        norm = next(layer for layer in encoder._flatten_layers() if isinstance(layer, FusedBatchNorm))
        self.assertEqual((norm.momentum, norm.epsilon), (0.9, 1e-3))
        before = norm.moving_mean.numpy()
        first = encoder.places[0].layer(images * 2.0 - 1.0)
        encoder(images, training=True)
        expected = 0.9 * before + 0.1 * np.mean(first, (0, 1, 2))
        self.assertAllClose(norm.moving_mean, expected, rtol=1e-4, atol=1e-5)

    def test_an_unknown_network_is_refused(self):
        with self.assertRaisesRegex(ValueError, "`network` must be one of .* Received: network='MobileNetV9'"):
            applications.KerasApplication("MobileNetV9")


class ConvertedTest(tf.test.TestCase, parameterized.TestCase):
    def tearDown(self):
        tf.keras.mixed_precision.set_global_policy("float32")
        super().tearDown()

    def test_a_restored_checkpoint_standardises_by_its_own_statistics(self):
        # Keras' layer would go on with the constants that it took when it was built.
        first, second = (applications.converted(tf.keras.layers.Normalization(), "normalization") for _ in range(2))
        images = _images()
        for layer in (first, second):
            layer(images)
        first.mean.assign([0.1, 0.2, 0.3])
        first.variance.assign([0.25, 0.5, 0.0])
        path = tf.train.Checkpoint(layer=first).write(os.path.join(self.get_temp_dir(), "checkpoint"))
        tf.train.Checkpoint(layer=second).read(path).assert_consumed()
        expected = (images - [0.1, 0.2, 0.3]) / [0.25**0.5, 0.5**0.5, 1e-7]
        self.assertAllClose(second(images), expected, rtol=1e-5, atol=1e-5)

    @parameterized.parameters((1e-5, 1.001e-5), (1e-3, 1e-3))
    def test_batch_norm_has_the_epsilon_that_keras_computes_with(self, epsilon, expected):
        layer = tf.keras.layers.BatchNormalization(
            epsilon=epsilon, scale=False, gamma_initializer="zeros", momentum=0.5
        )
        copy = applications.converted(layer, "copy")
        self.assertEqual((copy.epsilon, copy.momentum, copy.scale, copy.center), (expected, 0.9, False, True))

    @parameterized.parameters((6, True), (3, False))
    def test_a_convolution_of_every_channel_is_one_kernel(self, groups, depthwise):
        layer, images = tf.keras.layers.Conv2D(6, 3, strides=2, padding="same", groups=groups), _images()
        images = tf.concat([images, 1 - images], -1)
        expected = layer(images)
        copy = applications.converted(layer, "copy")
        copy.build(images.shape)
        copy.set_weights(layer.get_weights())
        self.assertAllClose(copy(images), expected, rtol=1e-5, atol=1e-5)
        graph = tf.function(copy).get_concrete_function(images).graph
        kinds = {operation.type for operation in graph.get_operations()}
        self.assertEqual("DepthwiseConv2dNative" in kinds, depthwise)

    def test_pixels_and_means_are_computed_in_float32(self):
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        for layer, dtype in (
            (tf.keras.layers.Rescaling(1 / 255), "float32"),
            (tf.keras.layers.Normalization(), "float32"),
            (tf.keras.layers.Normalization(mean=0.5, variance=0.25), "float32"),
            (tf.keras.layers.GlobalAveragePooling2D(keepdims=True), "float32"),
            (tf.keras.layers.Conv2D(3, 3), "bfloat16"),
        ):
            self.assertEqual(applications.converted(layer, "copy").compute_dtype, dtype)

    def test_nothing_is_drawn_in_training(self):
        stochastic_depth = type("StochasticDepth", (tf.keras.layers.Layer,), {})()
        for layer in (stochastic_depth, tf.keras.layers.Dropout(0.5), tf.keras.layers.GaussianNoise(1.0)):
            copy, images = applications.converted(layer, "copy"), _images()
            self.assertAllEqual(copy(images, training=True), images)
        model = _KERAS.EfficientNetB0(include_top=False, weights=None)
        drop = [layer for layer in model.layers if isinstance(layer, tf.keras.layers.Dropout)]
        encoder = applications.KerasApplication("EfficientNetB0")
        copies = {layer.name: layer for layer in encoder.graph_layers}
        self.assertNotEmpty(drop)
        self.assertEqual({type(copies[layer.name]) for layer in drop}, {tf.keras.layers.Activation})


class LayerGraphTest(tf.test.TestCase, parameterized.TestCase):
    def test_a_stage_ends_where_the_resolution_halves(self):
        encoder = applications.KerasApplication("MobileNetV2")
        stages = [[layer.name for layer in stage] for stage in encoder.stages]
        firsts = ["Conv1", "block_3_depthwise", "block_6_depthwise", "block_13_depthwise"]
        self.assertEqual([next(name for name in stage if not name.endswith("_pad")) for stage in stages], firsts)
        self.assertEqual(sum(map(len, stages)), len(encoder.graph_layers))

    def test_attention_of_channels_belongs_to_the_stage_around_it(self):
        encoder = applications.KerasApplication("MobileNetV3Small")
        stages = [[layer.name for layer in stage] for stage in encoder.stages]
        self.assertIn("expanded_conv/squeeze_excite/Conv", stages[0])
        self.assertIn("expanded_conv_10/squeeze_excite/Conv", stages[3])

    def test_generated_names_are_numbered_from_zero(self):
        tf.keras.layers.Conv2D(3, 3)  # Keras counts layers over the whole process
        encoder = applications.KerasApplication("Xception")
        generated = [place for place in encoder.places if not place.name and place.path.startswith("layers/conv2d")]
        self.assertEqual([place.layer.name for place in generated], ["conv2d_2", "conv2d_3", "conv2d_4", "conv2d_5"])
        self.assertEqual([place.path for place in generated], [f"layers/conv2d_{number}" for number in (2, 3, 4, 5)])
        self.assertEqual(encoder.places[0][1:], ("block1_conv1", "layers/conv2d"))


if __name__ == "__main__":
    tf.test.main()
