"""Tests of semppl.trainers.optimisers.registry."""

import importlib.util
import math
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.tests import testing
from semppl.trainers.optimisers import lars, registry, schedules

_INSTALLED = [name for name in registry.OPTIMISERS if name != "lamb" or testing.HAS_ADDONS]


def _adamw_oracle(weight, gradients, *, learning_rate, weight_decay, beta_1, beta_2=0.999, epsilon=1e-7):
    weight = np.array(weight, np.float64)
    for index in np.ndindex(*weight.shape):
        first = second = 0.0
        for step, gradient in enumerate(gradients, start=1):
            first = beta_1 * first + (1 - beta_1) * gradient[index]
            second = beta_2 * second + (1 - beta_2) * gradient[index] ** 2
            size = learning_rate * math.sqrt(1 - beta_2**step) / (1 - beta_1**step)
            weight[index] -= learning_rate * weight_decay * weight[index]
            weight[index] -= size * first / (math.sqrt(second) + epsilon)
    return weight


def _network():
    """Returns a network whose layers' names contain every word that marks a bias or a norm parameter."""
    network = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(5, name="beta"),
            tf.keras.layers.LayerNormalization(name="bias"),
            tf.keras.layers.Dense(2, name="gamma_bias"),
        ],
        name="projector",
    )
    network.build([None, 3])
    rng = np.random.default_rng(3)
    for variable in network.trainable_variables:
        variable.assign(rng.standard_normal(variable.shape))
    return network


def _train(name, num_replicas, jit_compile=False):
    """Fits a network to noise for four steps of 8 images in all; returns it and its strategy."""
    strategy = testing.replicas(num_replicas)
    with strategy.scope():
        network = _network()
        schedule = schedules.WarmupCosine(peak=0.1, warmup_steps=2, total_steps=6)
        optimiser = registry.make_optimiser(
            name, learning_rate_schedule=schedule, weight_decay=0.3, trust_coefficient=0.1
        )
        optimiser.build(network.trainable_variables)

    def replica_step(inputs, outputs):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        rows = replica * (8 // num_replicas) + tf.range(8 // num_replicas)
        with tf.GradientTape() as tape:
            errors = network(tf.gather(inputs, rows)) - tf.gather(outputs, rows)
            loss = tf.reduce_sum(errors**2) / 8
        gradients = tape.gradient(loss, network.trainable_variables)
        optimiser.apply_gradients(zip(gradients, network.trainable_variables, strict=True))

    @tf.function(jit_compile=jit_compile)
    def step(inputs, outputs):
        strategy.run(replica_step, args=(inputs, outputs))

    rng = np.random.default_rng(4)
    for _ in range(4):
        step(tf.constant(rng.standard_normal((8, 3)), tf.float32), tf.constant(rng.standard_normal((8, 2)), tf.float32))
    return network, strategy


class MakeOptimiserTest(tf.test.TestCase, parameterized.TestCase):
    def test_lars_gets_every_setting(self):
        schedule = schedules.WarmupCosine(peak=0.1, warmup_steps=2, total_steps=6)
        optimiser = registry.make_optimiser(
            "lars", learning_rate_schedule=schedule, weight_decay=0.02, momentum=0.8, trust_coefficient=0.03
        )
        self.assertIsInstance(optimiser, lars.LARS)
        self.assertIs(optimiser._learning_rate, schedule)
        settings = (optimiser.weight_decay, optimiser.momentum, optimiser.trust_coefficient)
        self.assertEqual(settings, (0.02, 0.8, 0.03))

    def test_defaults_are_those_of_the_method(self):
        optimiser = registry.make_optimiser("lars", learning_rate_schedule=0.1, weight_decay=1e-6)
        self.assertEqual((optimiser.momentum, optimiser.trust_coefficient), (0.9, 1e-3))

    def test_adamw_matches_plain_loops_and_decays_kernels_alone(self):
        rng = np.random.default_rng(0)
        starts = {name: rng.standard_normal((2, 3)) for name in ("beta/kernel", "bias/bias", "norm/gamma", "x/beta")}
        gradients = {name: rng.standard_normal((3, 2, 3)) for name in starts}
        weights = {name: tf.Variable(start, name=name, dtype=tf.float32) for name, start in starts.items()}
        optimiser = registry.make_optimiser("adamw", learning_rate_schedule=0.1, weight_decay=0.5, momentum=0.7)
        for step in range(3):
            optimiser.apply_gradients(
                [(tf.constant(gradients[name][step], tf.float32), weights[name]) for name in weights]
            )
        for name, weight in weights.items():
            expected = _adamw_oracle(
                starts[name],
                gradients[name],
                learning_rate=0.1,
                weight_decay=0.5 if name == "beta/kernel" else 0.0,
                beta_1=0.7,
            )
            self.assertAllClose(weight, expected, rtol=1e-4, atol=1e-5)

    def test_sgd_matches_plain_loops_and_decays_kernels_alone(self):
        rng = np.random.default_rng(0)
        starts = {name: rng.standard_normal((2, 3)) for name in ("beta/kernel", "bias/bias", "norm/gamma", "x/beta")}
        gradients = {name: rng.standard_normal((3, 2, 3)) for name in starts}
        weights = {name: tf.Variable(start, name=name, dtype=tf.float32) for name, start in starts.items()}
        optimiser = registry.make_optimiser("sgd", learning_rate_schedule=0.1, weight_decay=0.5, momentum=0.7)
        for step in range(3):
            optimiser.apply_gradients(
                [(tf.constant(gradients[name][step], tf.float32), weights[name]) for name in weights]
            )
        for name, weight in weights.items():
            expected, velocity = starts[name].copy(), np.zeros((2, 3))
            for gradient, index in ((g, i) for g in gradients[name] for i in np.ndindex(2, 3)):
                decay = 0.5 * expected[index] if name == "beta/kernel" else 0.0
                velocity[index] = 0.7 * velocity[index] + gradient[index] + decay
                expected[index] -= 0.1 * velocity[index]
            self.assertAllClose(weight, expected, rtol=1e-5, atol=1e-6)

    def test_adamw_follows_its_schedule(self):
        schedule = schedules.WarmupCosine(peak=0.1, warmup_steps=2, total_steps=6)
        optimiser = registry.make_optimiser("adamw", learning_rate_schedule=schedule, weight_decay=0.0)
        self.assertIs(optimiser._learning_rate, schedule)

    def test_adamw_decays_kernels_alone_on_every_replica(self):
        # Zero gradients leave Adam's part at 0, so the decay stands alone: (1 − 0.5·0.4)·w. A replica's own variable is
        # called `…/bias/replica_1:0`; an exclusion that misses it would let the replicas drift apart unseen.
        strategy = testing.two_replicas()
        with strategy.scope():
            network = _network()
            optimiser = registry.make_optimiser("adamw", learning_rate_schedule=0.5, weight_decay=0.4)
            optimiser.build(network.trainable_variables)
        starts = [variable.numpy() for variable in network.trainable_variables]

        def replica_step():
            variables = network.trainable_variables
            optimiser.apply_gradients([(tf.zeros(variable.shape), variable) for variable in variables])

        tf.function(lambda: strategy.run(replica_step))()
        for variable, start in zip(network.trainable_variables, starts, strict=True):
            for copy in variable.values:
                self.assertAllClose(copy, (0.8 if "kernel" in variable.name else 1.0) * start, rtol=1e-6, atol=1e-7)

    @parameterized.parameters(*_INSTALLED)
    def test_one_replica_equals_two(self, name):
        one, _ = _train(name, 1)
        two, strategy = _train(name, 2)
        for start, variable, mirrored in zip(_network().weights, one.weights, two.weights, strict=True):
            self.assertNotAllClose(variable, start, atol=1e-3)
            copies = strategy.experimental_local_results(mirrored)
            self.assertLen(copies, 2)
            self.assertAllEqual(copies[0], copies[1])
            self.assertAllClose(copies[0], variable, rtol=1e-6, atol=1e-6)

    @parameterized.parameters(*_INSTALLED)
    def test_a_compiled_step_equals_a_plain_one(self, name):
        plain, _ = _train(name, 1)
        compiled, _ = _train(name, 1, jit_compile=True)
        for variable, other in zip(plain.weights, compiled.weights, strict=True):
            self.assertAllClose(other, variable, rtol=1e-5, atol=1e-5)

    @parameterized.parameters(*_INSTALLED)
    def test_updates_are_not_compiled_one_by_one_even_where_there_is_a_gpu(self, name):
        with mock.patch("tensorflow.compat.v2.config.list_physical_devices", return_value=["GPU:0"]):
            self.assertTrue(tf.keras.optimizers.SGD().jit_compile)  # Keras' default.
            optimiser = registry.make_optimiser(name, learning_rate_schedule=0.1, weight_decay=0.1)
        self.assertFalse(optimiser.jit_compile)

    def test_an_unknown_name_is_refused(self):
        with self.assertRaisesRegex(ValueError, r"`name` must be one of adamw, lamb, lars, sgd\. Received: rmsprop"):
            registry.make_optimiser("rmsprop", learning_rate_schedule=0.1, weight_decay=0.0)

    @parameterized.parameters(*_INSTALLED)
    def test_a_variable_as_learning_rate_is_refused(self, name):
        rate = tf.Variable(0.1, name="rate")
        with self.assertRaisesRegex(
            TypeError, r"Keras would copy a variable\. Received: learning_rate_schedule=rate:0"
        ):
            registry.make_optimiser(name, learning_rate_schedule=rate, weight_decay=0.0)

    def test_lamb_is_refused_without_tensorflow_addons(self):
        with (
            mock.patch.object(importlib.util, "find_spec", return_value=None),
            self.assertRaisesRegex(
                ValueError,
                r"`name` must be one of adamw, lars, sgd without tensorflow-addons.*TensorFlow 2\.16.*: lamb$",
            ),
        ):
            registry.make_optimiser("lamb", learning_rate_schedule=0.1, weight_decay=0.0)


if __name__ == "__main__":
    tf.test.main()
