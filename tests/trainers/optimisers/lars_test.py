"""Tests of semppl.trainers.optimisers.lars."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.tests import testing
from semppl.trainers.optimisers import lars, schedules

_SETTINGS: dict[str, Any] = {"learning_rate": 0.7, "weight_decay": 0.03, "momentum": 0.8, "trust_coefficient": 0.02}
_NAMES = {
    "linear/w": "linear/kernel",
    "linear/b": "linear/bias",
    "batchnorm/scale": "batchnorm/gamma",
    "batchnorm/offset": "batchnorm/beta",
    "zero/w": "zero/kernel",
}


def _oracle(weight, gradient, momentum_buffer, *, learning_rate, weight_decay, momentum, trust_coefficient, adapted):
    gradient = np.array(gradient, np.float64)
    if adapted:
        for index in np.ndindex(*gradient.shape):
            gradient[index] += weight_decay * weight[index]
        weight_norm = math.sqrt(sum(value**2 for value in weight.flat))
        gradient_norm = math.sqrt(sum(value**2 for value in gradient.flat))
        if weight_norm > 0 and gradient_norm > 0:
            for index in np.ndindex(*gradient.shape):
                gradient[index] *= trust_coefficient * weight_norm / gradient_norm
    new_weight, new_buffer = np.empty_like(gradient), np.empty_like(gradient)
    for index in np.ndindex(*gradient.shape):
        new_buffer[index] = momentum * momentum_buffer[index] + gradient[index]
        new_weight[index] = weight[index] - learning_rate * new_buffer[index]
    return new_weight, new_buffer


def _random(*shape, count):
    return np.random.default_rng(5).standard_normal((count, *shape))


class IsBiasOrNormTest(parameterized.TestCase):
    @parameterized.parameters(
        "bias:0",
        "bias",
        "projector/dense/bias:0",
        "projector/dense/bias/replica_1:0",
        "encoder/group_1/norm/gamma:0",
        "encoder/norm/beta/replica_12:0",
    )
    def test_a_variable_is_known_by_the_last_part_of_its_name(self, name):
        self.assertTrue(lars.is_bias_or_norm(name))

    @parameterized.parameters(
        "kernel:0",
        "bias/kernel:0",
        "encoder/beta/kernel:0",
        "encoder/gamma/kernel/replica_1:0",
        "beta_network/dense_bias/kernel:0",
        "unbias:0",
        "dense/no_bias:0",
        "bias_net/gamma_1/depthwise_kernel:0",
        "bias/replica_1/kernel:0",
    )
    def test_a_path_that_merely_contains_the_word_does_not_count(self, name):
        self.assertFalse(lars.is_bias_or_norm(name))


class LarsUpdateTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(adapted=[False, True], shape=[(), (4,), (3, 2), (3, 3, 2, 4)])
    def test_update_matches_plain_loops(self, adapted, shape):
        weight, gradient, momentum_buffer = _random(*shape, count=3)
        settings = {**_SETTINGS, "adapted": adapted}
        new_weight, new_buffer = lars.lars_update(
            tf.constant(weight), tf.constant(gradient), tf.constant(momentum_buffer), **settings
        )
        expected_weight, expected_buffer = _oracle(weight, gradient, momentum_buffer, **settings)
        self.assertAllClose(new_weight, expected_weight, rtol=1e-12, atol=1e-12)
        self.assertAllClose(new_buffer, expected_buffer, rtol=1e-12, atol=1e-12)

    def test_adapted_step_has_the_weights_norm_times_the_trust_coefficient(self):
        weight, gradient = tf.constant(_random(6, 5, count=2))
        for size in (1e-6, 1.0, 1e6):
            _, step = lars.lars_update(weight, size * gradient, tf.zeros_like(weight), **_SETTINGS, adapted=True)
            self.assertAllClose(tf.norm(step), 0.02 * tf.norm(weight), rtol=1e-10, atol=0)

    def test_a_weight_of_zero_takes_its_gradient_as_it_is(self):
        gradient = tf.constant([[3.0, -4.0]])
        _, step = lars.lars_update(0 * gradient, gradient, 0 * gradient, **_SETTINGS, adapted=True)
        self.assertAllEqual(step, gradient)

    def test_a_gradient_of_zero_without_decay_only_rolls_on(self):
        weight, momentum_buffer = tf.constant([3.0, -4.0]), tf.constant([1.0, 2.0])
        settings = {**_SETTINGS, "weight_decay": 0.0, "adapted": True}
        new_weight, new_buffer = lars.lars_update(weight, 0 * weight, momentum_buffer, **settings)
        self.assertAllClose(new_buffer, [0.8, 1.6], rtol=1e-6, atol=0)
        self.assertAllClose(new_weight, [3.0 - 0.7 * 0.8, -4.0 - 0.7 * 1.6], rtol=1e-6, atol=0)

    def test_learning_rate_stands_outside_the_momentum(self):
        # With a constant gradient 1 the buffer is 1, then 1.5. At the rates 0.2 and 0.1 the weight moves 0.2 + 0.15;
        # with the rate inside the buffer it would move 0.2 + (0.5·0.2 + 0.1) = 0.4.
        weight, momentum_buffer, gradient = tf.zeros(1), tf.zeros(1), tf.ones(1)
        for learning_rate in (0.2, 0.1):
            settings = {**_SETTINGS, "learning_rate": learning_rate, "momentum": 0.5, "adapted": False}
            weight, momentum_buffer = lars.lars_update(weight, gradient, momentum_buffer, **settings)
        self.assertAllClose(weight, [-0.35], rtol=1e-6, atol=0)


class LARSTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("eager", "graph", "xla", "two replicas")
    def test_trajectory_of_the_official_code_is_reproduced(self, mode):
        golden = np.load(testing.golden("lars.npz"))
        strategy = testing.replicas(2 if mode == "two replicas" else 1)
        with strategy.scope():
            weights = {key: tf.Variable(golden[f"init/{key}"], name=name) for key, name in _NAMES.items()}
            schedule = schedules.WarmupCosine(peak=0.6, warmup_steps=3, total_steps=12)
            optimiser = lars.LARS(schedule, weight_decay=1e-2, momentum=0.9, trust_coefficient=1e-3)
            optimiser.build(list(weights.values()))

        def replica_step(gradients):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            share = tf.constant([0.25, 0.75] if mode == "two replicas" else [1.0])[replica]
            optimiser.apply_gradients([(share * gradients[key], weights[key]) for key in weights])

        def step(gradients):
            strategy.run(replica_step, args=(gradients,))

        if mode != "eager":
            step = tf.function(step, jit_compile=mode == "xla")
        for i in range(12):
            step({key: tf.constant(golden[f"grad{i:02d}/{key}"]) for key in weights})
            for key, weight in weights.items():
                for copy in strategy.experimental_local_results(weight):
                    self.assertAllClose(copy, golden[f"step{i:02d}/{key}"], rtol=2e-6, atol=2e-7)
            rate = tf.convert_to_tensor(optimiser.learning_rate)
            self.assertAllClose(rate, golden["learning_rates"][i], rtol=1e-6, atol=1e-7)

    def test_weight_decay_acts_once_and_on_kernels_alone(self):
        # Without a gradient, step (1) leaves wd·w and step (2) makes it η·w, whatever wd is: w ← (1 − lr·η)·w.
        # Keras' own decoupled decay on top would give (1 − lr·wd)(1 − lr·η)·w.
        model = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(4, name="beta"),
                tf.keras.layers.BatchNormalization(name="bias"),
                tf.keras.layers.Dense(2, name="gamma"),
            ]
        )
        model.build([None, 3])
        for variable in model.trainable_variables:
            variable.assign(tf.ones_like(variable))
        optimiser = lars.LARS(0.5, weight_decay=0.1, trust_coefficient=0.2)
        optimiser.apply_gradients([(tf.zeros_like(variable), variable) for variable in model.trainable_variables])
        moved = {variable.name: variable.numpy().flat[0] for variable in model.trainable_variables}
        self.assertLen(moved, 6)
        for name, value in moved.items():
            self.assertAllClose(value, 0.9 if name in ("beta/kernel:0", "gamma/kernel:0") else 1.0, rtol=1e-6, atol=0)

    def test_every_variable_has_a_buffer_of_its_own(self):
        weights = [tf.Variable([1.0, 2.0], name="a/bias"), tf.Variable([3.0, 4.0], name="b/bias")]
        gradients = [tf.constant([0.1, 0.2]), tf.constant([-0.3, 0.4])]
        optimiser = lars.LARS(1.0, momentum=0.5)
        for _ in range(2):
            optimiser.apply_gradients(zip(gradients, weights, strict=True))
        for weight, start, gradient in zip(weights, ([1.0, 2.0], [3.0, 4.0]), gradients, strict=True):
            self.assertAllClose(weight, start - 2.5 * gradient, rtol=1e-6, atol=0)

    def test_building_twice_keeps_the_buffers(self):
        weight = tf.Variable([1.0], name="bias")
        optimiser = lars.LARS(1.0, momentum=0.5)
        optimiser.build([weight])
        optimiser.apply_gradients([(tf.ones(1), weight)])
        optimiser.build([weight])
        optimiser.apply_gradients([(tf.ones(1), weight)])
        self.assertAllClose(weight, [1.0 - 2.5], rtol=1e-6, atol=0)
        self.assertLen(optimiser.variables, 2)

    def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(self):
        def start():
            weight = tf.Variable([[1.0, -2.0]], name="kernel")
            schedule = schedules.WarmupCosine(peak=0.5, warmup_steps=2, total_steps=9)
            return weight, lars.LARS(schedule, trust_coefficient=0.1)

        def train(weight, optimiser, steps):
            for i in steps:
                optimiser.apply_gradients([(tf.constant([[math.sin(i), 1.0]]), weight)])

        weight, optimiser = start()
        train(weight, optimiser, range(4))
        path = tf.train.Checkpoint(weight=weight, optimiser=optimiser).save(self.create_tempdir().full_path)
        train(weight, optimiser, range(4, 8))
        resumed_weight, resumed_optimiser = start()
        resumed_optimiser.build([resumed_weight])
        checkpoint = tf.train.Checkpoint(weight=resumed_weight, optimiser=resumed_optimiser)
        checkpoint.restore(path).assert_existing_objects_matched()
        train(resumed_weight, resumed_optimiser, range(4, 8))
        self.assertAllEqual(resumed_weight, weight)

    def test_optimiser_survives_serialisation(self):
        schedule = schedules.WarmupCosine(peak=0.5, warmup_steps=2, total_steps=9)
        optimiser = lars.LARS(schedule, 0.02, 0.8, 0.03, clipnorm=1.5, name="mine")
        serialised = tf.keras.optimizers.serialize(optimiser)
        self.assertEqual(serialised["registered_name"], "semppl>LARS")
        restored = tf.keras.optimizers.deserialize(serialised)
        self.assertIsInstance(restored, lars.LARS)
        self.assertEqual(restored.get_config(), optimiser.get_config())
        self.assertEqual(restored._learning_rate.get_config(), schedule.get_config())
        for key, value in {
            "weight_decay": 0.02,
            "momentum": 0.8,
            "trust_coefficient": 0.03,
            "clipnorm": 1.5,
            "name": "mine",
            "jit_compile": False,
        }.items():
            self.assertEqual(restored.get_config()[key], value)

    def test_the_defaults_are_those_of_the_method(self):
        config = lars.LARS().get_config()
        expected = {"weight_decay": 1e-6, "momentum": 0.9, "trust_coefficient": 1e-3, "jit_compile": False}
        self.assertEqual({name: config[name] for name in expected}, expected)
        self.assertAllClose(config["learning_rate"], 0.1, rtol=1e-6, atol=0)

    @parameterized.parameters({"weight_decay": 0.0}, {"momentum": 0.0}, {"momentum": 1.0})
    def test_a_setting_at_the_end_of_its_range_is_allowed(self, **setting):
        self.assertContainsSubset(setting.items(), lars.LARS(0.1, **setting).get_config().items())

    @parameterized.parameters(
        ({"weight_decay": -1.0}, r"`weight_decay` must not be negative\. Received: weight_decay=-1\.0"),
        ({"momentum": -0.1}, r"`momentum` must be in 0\.\.1\. Received: momentum=-0\.1"),
        ({"momentum": 1.1}, r"`momentum` must be in 0\.\.1\. Received: momentum=1\.1"),
        ({"trust_coefficient": 0.0}, r"`trust_coefficient` must be positive\. Received: trust_coefficient=0\.0"),
    )
    def test_a_setting_out_of_range_is_refused(self, settings, message):
        with self.assertRaisesRegex(ValueError, message):
            lars.LARS(0.1, **settings)


if __name__ == "__main__":
    tf.test.main()
