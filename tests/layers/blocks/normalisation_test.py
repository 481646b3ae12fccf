"""Tests of semppl.layers.blocks.normalisation."""

import itertools
import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.blocks import normalisation
from semppl.tests import testing

_SHAPES = ((6, 3), (2, 4, 3), (2, 4, 5, 3))
_EPSILON = 1e-5


def _moments_oracle(values):
    """Mean and biased variance of a list, by loops."""
    mean = 0.0
    for value in values:
        mean += value / len(values)
    variance = 0.0
    for value in values:
        variance += (value - mean) ** 2 / len(values)
    return mean, variance


def _channel_moments(inputs):
    rows = inputs.reshape(-1, inputs.shape[-1]).astype(np.float64)
    moments = [_moments_oracle(list(rows[:, channel])) for channel in range(rows.shape[1])]
    return np.array([mean for mean, _ in moments]), np.array([variance for _, variance in moments])


def _random(shape, seed=0):
    return (np.random.default_rng(seed).normal(1.0, 2.0, shape)).astype(np.float32)


def _built_batch_norm(shape, **options):
    layer = normalisation.BatchNorm(**options)
    layer.build(shape)
    layer.gamma.assign(np.linspace(0.5, 1.5, shape[-1]))
    layer.beta.assign(np.linspace(-1.0, 1.0, shape[-1]))
    return layer


def _run_on_replicas(count, inputs, weights, moving_mean=0.0):
    """Two training steps of a batch norm: outputs, gradients by input, gain and offset, and averages."""
    strategy = testing.replicas(count)
    with strategy.scope():
        layer = _built_batch_norm(inputs.shape)
    layer.moving_mean.assign([moving_mean] * inputs.shape[-1])

    def split(array):
        if count == 1:
            return tf.constant(array)
        parts = np.split(array, count)
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    def step(inputs, weights):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_mean(outputs * weights + tf.sin(outputs)) / count
        return outputs, tape.gradient(loss, [inputs, layer.gamma, layer.beta])

    @tf.function
    def run(inputs, weights):
        strategy.run(step, (inputs, weights))
        return strategy.run(step, (inputs, weights))

    outputs, (by_input, by_gain, by_offset) = run(split(inputs), split(weights))
    local = strategy.experimental_local_results
    return {
        "outputs": np.concatenate([part.numpy() for part in local(outputs)]),
        "by_input": np.concatenate([part.numpy() for part in local(by_input)]),
        "by_gain": sum(part.numpy() for part in local(by_gain)),
        "by_offset": sum(part.numpy() for part in local(by_offset)),
        "moving_mean": layer.moving_mean.numpy(),
        "moving_variance": layer.moving_variance.numpy(),
    }


class BatchNormTest(tf.test.TestCase, parameterized.TestCase):
    def tearDown(self):
        tf.keras.mixed_precision.set_global_policy("float32")
        super().tearDown()

    @parameterized.product(shape=_SHAPES, dtype=("float32", "float64"))
    def test_training_matches_plain_loops(self, shape, dtype):
        inputs = _random(shape)
        layer = _built_batch_norm(shape, dtype=dtype)
        outputs = layer(inputs, training=True)
        mean, variance = _channel_moments(inputs)
        expected = np.empty(shape)
        for index in np.ndindex(*shape):
            channel = index[-1]
            scaled = (inputs[index] - mean[channel]) / np.sqrt(variance[channel] + _EPSILON)
            expected[index] = scaled * layer.gamma[channel].numpy() + layer.beta[channel].numpy()
        self.assertEqual(outputs.dtype, dtype)
        self.assertAllClose(outputs, expected, rtol=1e-5, atol=1e-5)

    @parameterized.product(shape=_SHAPES, dtype=("float32", "float64"))
    def test_averages_match_plain_loops_over_two_steps(self, shape, dtype):
        layer = _built_batch_norm(shape, momentum=0.7, dtype=dtype)
        means, variances = np.zeros(3), np.ones(3)
        for seed in (1, 2):
            layer(_random(shape, seed), training=True)
            mean, variance = _channel_moments(_random(shape, seed))
            means, variances = 0.7 * means + 0.3 * mean, 0.7 * variances + 0.3 * variance
        self.assertAllClose(layer.moving_mean, means, rtol=1e-5, atol=1e-6)
        self.assertAllClose(layer.moving_variance, variances, rtol=1e-5, atol=1e-6)

    def test_moving_variance_is_the_biased_one(self):
        layer = normalisation.BatchNorm()
        layer(tf.constant([[0.0], [4.0]]), training=True)
        # Biased variance 4, unbiased 8: 0.9·1 + 0.1·4.
        self.assertAllClose(layer.moving_variance, [1.3], rtol=1e-6)

    @parameterized.parameters(*_SHAPES)
    def test_inference_uses_the_averages_and_keeps_them(self, *shape):
        layer = _built_batch_norm(shape)
        layer.moving_mean.assign([1.0, -2.0, 0.5])
        layer.moving_variance.assign([4.0, 0.25, 1.0])
        inputs = _random(shape)
        scaled = (inputs - [1.0, -2.0, 0.5]) / np.sqrt(np.array([4.0, 0.25, 1.0]) + _EPSILON)
        self.assertAllClose(layer(inputs), scaled * layer.gamma.numpy() + layer.beta.numpy(), rtol=1e-5, atol=1e-5)
        self.assertAllClose(layer.moving_mean, [1.0, -2.0, 0.5])
        self.assertAllClose(layer.moving_variance, [4.0, 0.25, 1.0])

    @parameterized.parameters(*_SHAPES)
    def test_one_replica_equals_two(self, *shape):
        shape = (16, *shape[1:])
        inputs, weights = _random(shape), _random(shape, seed=1)
        one, two = _run_on_replicas(1, inputs, weights), _run_on_replicas(2, inputs, weights)
        for name, expected in one.items():
            self.assertAllClose(two[name], expected, rtol=1e-6, atol=1e-6, msg=name)

    def test_replicas_keep_their_digits_far_from_zero(self):
        inputs, weights = _random((16, 5, 5, 3)) + 1000.0, _random((16, 5, 5, 3), seed=1)
        one, two = (_run_on_replicas(count, inputs, weights, moving_mean=999.0) for count in (1, 2))
        for name, expected in one.items():
            self.assertAllClose(two[name], expected, rtol=1e-3, atol=1e-3, msg=name)  # 1000 has steps of 6e-5

    def test_equal_inputs_far_from_zero_stay_finite(self):
        # The difference of the mean square and the squared mean is then a rounding error of either sign.
        inputs = np.tile(np.linspace(1e3, 1e4, 64, dtype=np.float32), (16, 1))
        state = _run_on_replicas(2, inputs, np.ones_like(inputs))
        for name, value in state.items():
            self.assertTrue(np.isfinite(value).all(), name)

    @parameterized.parameters(1, 2)
    def test_averages_survive_a_checkpoint_between_replicas(self, saved_on):
        strategies = {count: testing.replicas(count) for count in (1, 2)}
        with strategies[saved_on].scope():
            layer = _built_batch_norm((4, 3))
        layer.moving_mean.assign([1.0, 2.0, 3.0])
        layer.moving_variance.assign([4.0, 5.0, 6.0])
        path = tf.train.Checkpoint(layer=layer).write(os.path.join(self.get_temp_dir(), "checkpoint"))
        with strategies[3 - saved_on].scope():
            restored = _built_batch_norm((4, 3))
        tf.train.Checkpoint(layer=restored).read(path).assert_consumed()
        for value in strategies[3 - saved_on].experimental_local_results(restored.moving_mean):
            self.assertAllClose(value, [1.0, 2.0, 3.0])
        for value in strategies[3 - saved_on].experimental_local_results(restored.moving_variance):
            self.assertAllClose(value, [4.0, 5.0, 6.0])

    @parameterized.product(shape=_SHAPES, jit_compile=(False, True), training=(False, True))
    def test_graph_and_xla_equal_eager(self, shape, jit_compile, training):
        inputs = tf.constant(_random(shape))
        eager, compiled = _built_batch_norm(shape), _built_batch_norm(shape)
        expected = eager(inputs, training=training)
        call = tf.function(lambda x: compiled(x, training=training), jit_compile=jit_compile)
        self.assertAllClose(call(inputs), expected, rtol=1e-5, atol=1e-5)
        self.assertAllClose(compiled.moving_mean, eager.moving_mean, rtol=1e-6, atol=1e-6)
        self.assertAllClose(compiled.moving_variance, eager.moving_variance, rtol=1e-5, atol=1e-6)

    @parameterized.parameters(*_SHAPES)
    def test_gradients_match_finite_differences(self, *shape):
        layer = _built_batch_norm(shape, dtype="float64")
        weights = _random(shape, seed=1).astype(np.float64)
        loss = lambda x: tf.reduce_sum(tf.sin(layer(x, training=True)) * weights)  # noqa: E731
        analytic, numeric = tf.test.compute_gradient(loss, [_random(shape).astype(np.float64)], delta=1e-5)
        self.assertAllClose(analytic, numeric, rtol=1e-6, atol=1e-6)

    @parameterized.product(policy=("mixed_bfloat16", "bfloat16"), shape=((2, 1), (2, 1, 1, 1)))
    def test_statistics_are_float32_under_bfloat16(self, policy, shape):
        tf.keras.mixed_precision.set_global_policy(policy)
        layer = normalisation.BatchNorm(momentum=0.0)
        outputs = layer(tf.reshape(tf.constant([1.0, 1.0 + 2**-7], tf.bfloat16), shape), training=True)
        self.assertEqual(outputs.dtype, tf.bfloat16)
        self.assertEqual({weight.dtype for weight in layer.weights}, {tf.float32})
        # 1 + 2⁻⁸ has one bit more than a bfloat16.
        self.assertAllEqual(layer.moving_mean, [1.0 + 2**-8])
        self.assertEqual(layer(tf.ones(shape, tf.bfloat16)).dtype, tf.bfloat16)

    def test_float64_keeps_its_digits(self):
        layer = normalisation.BatchNorm(momentum=0.0, dtype="float64")
        layer(tf.constant([[1.0], [1.0 + 2**-40]], tf.float64), training=True)
        self.assertAllEqual(layer.moving_mean, [1.0 + 2**-41])

    @parameterized.parameters((True, False), (False, True), (False, False))
    def test_gain_and_offset_are_optional(self, center, scale):
        layer = normalisation.BatchNorm(center=center, scale=scale, name="norm")
        outputs = layer(_random((64, 3)), training=True)
        names = ["norm/gamma:0"] * scale + ["norm/beta:0"] * center
        self.assertEqual([weight.name for weight in layer.trainable_weights], names)
        self.assertAllClose(np.mean(outputs, 0), np.zeros(3), atol=1e-6)
        self.assertAllClose(np.var(outputs, 0), np.ones(3), atol=1e-5)

    def test_variables_have_the_agreed_names(self):
        layer = normalisation.BatchNorm(name="norm")
        layer(tf.zeros((2, 3)))
        names = ["norm/gamma:0", "norm/beta:0", "norm/moving_mean:0", "norm/moving_variance:0"]
        self.assertEqual([weight.name for weight in layer.weights], names)

    def test_an_untrainable_layer_still_uses_batch_statistics(self):
        layer = normalisation.BatchNorm(trainable=False)
        outputs = layer(_random((64, 3)), training=True)
        self.assertAllClose(np.mean(outputs, 0), np.zeros(3), atol=1e-6)
        self.assertNotAllClose(layer.moving_mean, np.zeros(3))

    @parameterized.parameters(((1, 3),), ((1, 1, 1, 3),))
    def test_a_single_value_becomes_the_offset(self, shape):
        layer = _built_batch_norm(shape)
        self.assertAllClose(np.reshape(layer(_random(shape), training=True), 3), layer.beta)
        self.assertAllClose(layer.moving_variance, [0.9] * 3)

    def test_an_unknown_number_of_rows_is_accepted(self):
        layer = _built_batch_norm((None, 3))
        call = tf.function(lambda x: layer(x, training=True), [tf.TensorSpec((None, None, None, 3))])
        self.assertAllClose(np.mean(call(_random((2, 4, 5, 3))), (0, 1, 2)), layer.beta, atol=1e-6)

    def test_wrong_arguments_are_refused(self):
        with self.assertRaisesRegex(ValueError, "Received: momentum=1"):
            normalisation.BatchNorm(momentum=1.0)
        with self.assertRaisesRegex(ValueError, "last dimension must be known"):
            normalisation.BatchNorm().build((4, None))


class FusedBatchNormTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("float32", "mixed_bfloat16")
    def test_inference_equals_keras_to_the_bit(self, policy):
        options = {"epsilon": 1e-3, "dtype": policy}
        ours, theirs = normalisation.FusedBatchNorm(**options), tf.keras.layers.BatchNormalization(**options)
        for layer in (ours, theirs):
            layer.build((2, 4, 5, 3))
            for number, variable in enumerate(layer.variables):
                variable.assign([0.5 + number, 1.5, 0.25])
        inputs = tf.cast(_random((2, 4, 5, 3)), ours.compute_dtype)
        self.assertAllEqual(ours(inputs), theirs(inputs))

    @parameterized.product(kind=(normalisation.BatchNorm, normalisation.FusedBatchNorm), shape=_SHAPES)
    def test_a_frozen_layer_trains_as_it_infers(self, kind, shape):
        layer, inputs = kind(), tf.constant(_random(shape))
        layer.build(shape)
        layer.moving_mean.assign([1.0, -2.0, 0.5])
        layer.moving_variance.assign([4.0, 0.25, 1.0])
        expected = layer(inputs)
        self.assertNotAllClose(layer(inputs, training=True), expected)
        layer.moving_mean.assign([1.0, -2.0, 0.5])
        layer.moving_variance.assign([4.0, 0.25, 1.0])
        layer.frozen = True
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        self.assertAllClose(outputs, expected, rtol=1e-6, atol=1e-6)
        self.assertAllEqual(layer.moving_mean, [1.0, -2.0, 0.5])
        self.assertAllEqual(layer.moving_variance, [4.0, 0.25, 1.0])
        by_inputs = np.broadcast_to(1 / np.sqrt(np.array([4.0, 0.25, 1.0]) + _EPSILON), shape)
        self.assertAllClose(tape.gradient(outputs, inputs), by_inputs, rtol=1e-5, atol=0)

    def test_training_uses_no_kernel_without_a_deterministic_gradient(self):
        layer = normalisation.FusedBatchNorm()
        layer.frozen = True
        call = tf.function(lambda x: layer(x, training=True)).get_concrete_function(tf.TensorSpec([2, 4, 5, 3]))
        self.assertEmpty([op.name for op in call.graph.get_operations() if op.type.startswith("FusedBatchNorm")])


class GroupNormTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(((2, 3, 2, 12), 4), ((2, 3, 12), 4), ((2, 96), 4))
    def test_outputs_match_plain_loops(self, shape, groups):
        inputs = _random(shape)
        layer = normalisation.GroupNorm(groups=groups)
        layer.build(shape)
        layer.gamma.assign(np.linspace(0.5, 1.5, shape[-1]))
        layer.beta.assign(np.linspace(-1.0, 1.0, shape[-1]))
        size = shape[-1] // groups
        expected = np.empty(shape)
        for example, group in itertools.product(range(shape[0]), range(groups)):
            channels = range(group * size, (group + 1) * size)
            mean, variance = _moments_oracle(list(inputs[example, ..., channels].astype(np.float64).ravel()))
            for channel in channels:
                scaled = (inputs[example, ..., channel] - mean) / np.sqrt(variance + _EPSILON)
                expected[example, ..., channel] = scaled * layer.gamma[channel].numpy() + layer.beta[channel].numpy()
        self.assertAllClose(layer(inputs), expected, rtol=1e-5, atol=1e-5)

    # Channels, feature map or vector, groups: a divisor of the channels, at most 32, of at least 2 or 16 channels each.
    @parameterized.parameters(
        (2048, True, 32), (64, True, 32), (48, True, 24), (16, True, 8), (8, True, 4), (7, True, 1), (1, True, 1),
        (4096, False, 32), (64, False, 4), (16, False, 1), (8, False, 1),
    )  # fmt: skip
    def test_the_groups_are_never_too_small(self, channels, spatial, groups):
        shape = (1, 4, 4, channels) if spatial else (1, channels)
        inputs = _random(shape)
        wanted = normalisation.GroupNorm()(inputs)
        grouped = inputs.reshape(1, -1, groups, channels // groups)
        scaled = (grouped - grouped.mean((1, 3), keepdims=True)) / np.sqrt(grouped.var((1, 3), keepdims=True) + 1e-5)
        self.assertAllClose(wanted, scaled.reshape(shape), rtol=1e-4, atol=1e-4)

    def test_an_example_does_not_depend_on_the_others(self):
        layer, inputs = normalisation.GroupNorm(), _random((4, 3, 3, 64))
        self.assertAllClose(layer(inputs)[:1], layer(inputs[:1]), rtol=1e-6, atol=1e-6)

    def test_statistics_are_float32_under_bfloat16(self):
        layer = normalisation.GroupNorm(dtype="mixed_bfloat16")
        inputs = tf.cast(_random((2, 8, 8, 64)) * 0.1 + 1.0, tf.bfloat16)
        expected = normalisation.GroupNorm()(tf.cast(inputs, tf.float32))
        outputs = layer(inputs)
        self.assertEqual({weight.dtype for weight in layer.weights}, {tf.float32})
        # Half a unit in the last place of a bfloat16 is 2⁻⁹ of the value.
        self.assertAllClose(tf.cast(outputs, tf.float32), expected, rtol=2**-8, atol=1e-6)

    def test_xla_and_unknown_sizes_equal_eager(self):
        layer, inputs = normalisation.GroupNorm(), _random((2, 3, 3, 64))
        expected = layer(inputs)
        self.assertAllClose(tf.function(layer, jit_compile=True)(inputs), expected, rtol=1e-5, atol=1e-5)
        graph = tf.function(layer, [tf.TensorSpec((None, None, None, 64))])
        self.assertAllClose(graph(inputs), expected, rtol=1e-5, atol=1e-5)

    def test_no_groups_are_refused(self):
        with self.assertRaisesRegex(ValueError, "Received: groups=0"):
            normalisation.GroupNorm(groups=0)


class StandardisedConv2DTest(tf.test.TestCase, parameterized.TestCase):
    def test_outputs_match_plain_loops(self):
        inputs = _random((1, 3, 3, 2))
        layer = normalisation.StandardisedConv2D(2, 2, padding="valid", use_bias=False)
        layer.build(inputs.shape)
        kernel = layer.kernel.numpy()
        expected = np.zeros((1, 2, 2, 2))
        for out in range(2):
            mean, variance = _moments_oracle(list(kernel[..., out].astype(np.float64).ravel()))
            for row, column, i, j, channel in itertools.product(range(2), repeat=5):
                weight = (kernel[i, j, channel, out] - mean) / np.sqrt(variance * 8)  # fan-in 2·2·2
                expected[0, row, column, out] += weight * inputs[0, row + i, column + j, channel]
        self.assertAllClose(layer(inputs), expected, rtol=1e-4, atol=1e-5)

    def test_offset_and_gain_of_the_kernel_do_not_matter(self):
        inputs = _random((2, 5, 5, 3))
        layer = normalisation.convolution(4, 3, standardise=True)
        expected = layer(inputs)
        layer.kernel.assign(layer.kernel * 3.0 + 0.7)
        self.assertAllClose(layer(inputs), expected, rtol=1e-4, atol=1e-4)

    def test_the_kernel_is_standardised_before_it_is_rounded(self):
        inputs = tf.cast(tf.cast(_random((2, 5, 5, 3)), tf.bfloat16), tf.float32)
        exact = normalisation.StandardisedConv2D(4, 3)
        mixed = normalisation.StandardisedConv2D(4, 3, dtype="mixed_bfloat16")
        for layer in (exact, mixed):
            layer.build(inputs.shape)
            layer.kernel.assign(100.0 + _random((3, 3, 3, 4)))  # bfloat16 has steps of 0.5 there
        expected, outputs = exact(inputs), mixed(inputs)
        self.assertEqual(outputs.dtype, tf.bfloat16)
        self.assertAllClose(tf.cast(outputs, tf.float32), expected, rtol=2**-6, atol=2**-5)


class FactoriesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(("batch", normalisation.BatchNorm), ("group", normalisation.GroupNorm))
    def test_kinds_make_their_layers(self, kind, expected):
        layer = normalisation.normalisation(kind, name="norm", gamma_initializer="zeros")
        self.assertIsInstance(layer, expected)
        self.assertEqual(layer.name, "norm")
        self.assertAllClose(layer(_random((2, 3, 3, 16))), np.zeros((2, 3, 3, 16)))

    def test_an_unknown_kind_is_refused(self):
        with self.assertRaisesRegex(ValueError, r"one of \['batch', 'group'\]. Received: kind='layer'"):
            normalisation.normalisation("layer")

    @parameterized.parameters(False, True)
    def test_convolutions_have_no_bias_and_pad(self, standardise):
        layer = normalisation.convolution(4, 3, 2, standardise=standardise, name="conv")
        self.assertEqual(layer(_random((2, 9, 9, 3))).shape, (2, 5, 5, 4))
        self.assertEqual([weight.name for weight in layer.weights], ["conv/kernel:0"])

    def test_configurations_make_equal_layers(self):
        layers = [
            normalisation.BatchNorm(0.5, 1e-3, center=False, scale=False, gamma_initializer="zeros"),
            normalisation.GroupNorm(4, 1e-3, center=False, scale=False, gamma_initializer="zeros"),
            normalisation.convolution(4, 3, standardise=True),
        ]
        for layer in layers:
            copy = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
            self.assertIs(type(copy), type(layer))
            self.assertEqual(copy.get_config(), layer.get_config())


if __name__ == "__main__":
    tf.test.main()
