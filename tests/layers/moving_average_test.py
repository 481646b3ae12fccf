"""Tests of semppl.layers.moving_average."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers import moving_average
from semppl.tests import testing


def _oracle(target, online, decay):
    average = np.empty_like(target)
    for index in np.ndindex(*target.shape):
        average[index] = decay * target[index] + (1.0 - decay) * online[index]
    return average


def _network(seed, name):
    rng = np.random.default_rng(seed)
    with tf.name_scope(name):
        return [
            tf.Variable(rng.standard_normal((3, 2)), name="dense/kernel", dtype=tf.float32),
            tf.Variable(rng.standard_normal(2), name="dense/bias", dtype=tf.float32),
            tf.Variable(rng.standard_normal(2), name="norm/gamma", dtype=tf.float32),
            tf.Variable(rng.standard_normal(2), name="norm/beta", dtype=tf.float32),
        ]


class MovingAverageTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(0.0, 0.3, 0.99, 1.0)
    def test_average_matches_plain_loops(self, decay):
        rng = np.random.default_rng(0)
        target, online = rng.standard_normal((2, 4, 3))
        average = moving_average.moving_average(tf.constant(target), tf.constant(online), decay)
        self.assertAllClose(average, _oracle(target, online, decay), rtol=1e-6, atol=1e-7)

    def test_extreme_decays_keep_or_copy_exactly(self):
        target, online = tf.constant([1.1, -2.3]), tf.constant([5.7, 0.9])
        self.assertAllEqual(moving_average.moving_average(target, online, 1.0), target)
        self.assertAllEqual(moving_average.moving_average(target, online, 0.0), online)

    def test_decay_and_online_value_take_the_targets_type(self):
        target, online = tf.constant([1.0, 2.0], tf.float64), tf.constant([3.0, 4.0], tf.float32)
        average = moving_average.moving_average(target, online, tf.constant(0.75, tf.float32))
        self.assertEqual(average.dtype, tf.float64)
        self.assertAllClose(average, [1.5, 2.5], rtol=0, atol=1e-12)


class UpdateMovingAverageTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("eager", lambda step: step), ("graph", tf.function), ("xla", tf.function(jit_compile=True))
    )
    def test_each_target_moves_to_its_own_partner(self, compiled):
        targets, onlines = _network(1, "target"), _network(2, "online")
        expected = [variable.numpy() for variable in targets]
        former = [variable.numpy() for variable in onlines]
        step = compiled(lambda decay: moving_average.update_moving_average(targets, onlines, decay))
        for decay in (0.5, 0.9, 0.99):
            step(tf.constant(decay))
            expected = [_oracle(t, o, decay) for t, o in zip(expected, former, strict=True)]
        for target, value in zip(targets, expected, strict=True):
            self.assertAllClose(target, value, rtol=1e-5, atol=1e-6)
        for online, value in zip(onlines, former, strict=True):
            self.assertAllEqual(online, value)

    def test_replicas_agree_and_equal_one_replica(self):
        strategy = testing.two_replicas()
        with strategy.scope():
            targets, onlines = _network(1, "target"), _network(2, "online")
        expected = [_oracle(t.numpy(), o.numpy(), 0.75) for t, o in zip(targets, onlines, strict=True)]

        @tf.function
        def step():
            strategy.run(lambda: moving_average.update_moving_average(targets, onlines, tf.constant(0.75)))

        step()
        for target, value in zip(targets, expected, strict=True):
            self.assertLen(target.values, 2)
            for copy in target.values:
                self.assertAllClose(copy, value, rtol=1e-6, atol=1e-6)
            self.assertAllEqual(target.values[0], target.values[1])

    def test_weights_of_keras_layers_agree_over_replicas(self):
        strategy = testing.two_replicas()
        with strategy.scope():
            target, online = (
                tf.keras.Sequential([tf.keras.layers.Dense(2), tf.keras.layers.BatchNormalization()]) for _ in range(2)
            )
            target.build([None, 3])
            online.build([None, 3])
        kernels = target.weights[0].numpy(), online.weights[0].numpy()

        @tf.function
        def step():
            strategy.run(
                lambda: moving_average.update_moving_average(
                    target.trainable_variables, online.trainable_variables, 0.25
                )
            )

        step()
        for copy in target.weights[0].values:
            self.assertAllClose(copy, _oracle(*kernels, 0.25), rtol=1e-6, atol=1e-6)

    def test_a_pair_of_different_shapes_is_refused_by_name(self):
        targets = [tf.Variable(tf.zeros(2), name="t/bias"), tf.Variable(tf.zeros([2, 3]), name="t/head/kernel")]
        onlines = [tf.Variable(tf.ones(2), name="o/bias"), tf.Variable(tf.zeros([3, 2]), name="o/head/kernel")]
        message = r"pair 1 is t/head/kernel:0 \(2, 3\) and o/head/kernel:0 \(3, 2\)"
        with self.assertRaisesRegex(ValueError, message):
            moving_average.update_moving_average(targets, onlines, 0.5)
        self.assertAllEqual(targets[0], [0.0, 0.0])  # Refused before anything moves.

    def test_a_pair_of_equal_shapes_in_the_wrong_order_is_refused_by_name(self):
        targets, onlines = _network(1, "target"), _network(2, "online")
        onlines[2], onlines[3] = onlines[3], onlines[2]
        with self.assertRaisesRegex(ValueError, r"pair 2 is \S*norm/gamma:0 \(2,\) and \S*norm/beta:0 \(2,\)"):
            moving_average.update_moving_average(targets, onlines, 0.5)

    @parameterized.parameters((4, 2, r"norm/gamma:0 \(2,\)"), (3, 4, r"norm/beta:0 \(2,\)"))
    def test_a_variable_without_partner_is_refused_by_name(self, num_targets, num_onlines, unpaired):
        targets, onlines = _network(1, "target")[:num_targets], _network(2, "online")[:num_onlines]
        message = (
            f"{num_targets} target and {num_onlines} online variables; the first without a partner is .*{unpaired}"
        )
        with self.assertRaisesRegex(ValueError, message):
            moving_average.update_moving_average(targets, onlines, 0.5)

    def test_networks_are_compared_when_the_step_is_traced(self):
        targets, onlines = _network(1, "target"), _network(2, "online")[:1]
        step = tf.function(lambda: moving_average.update_moving_average(targets, onlines, 0.5))
        with self.assertRaisesRegex(ValueError, "without a partner"):
            step.get_concrete_function()


if __name__ == "__main__":
    tf.test.main()
