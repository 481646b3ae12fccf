"""Tests of semppl.layers.blocks.recomputation."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.blocks import normalisation, recomputation
from semppl.layers.encoders import resnet
from semppl.tests import testing


def _step(strategy, recomputes):
    """Sends a batch through a block and back; returns outputs, gradients by images and weights, and averages."""
    rng = np.random.default_rng(0)
    with strategy.scope():
        tf.keras.utils.set_random_seed(1)
        block = resnet.PostActivationBlock(channels=4, strides=2, project=True)
        block.build([None, 4, 4, 3])
        block(tf.zeros([1, 4, 4, 3]))
    images = tf.constant(rng.normal(size=[strategy.num_replicas_in_sync, 2, 4, 4, 3]), tf.float32)
    upstream = tf.constant(rng.normal(size=[2, 2, 2, 4]), tf.float32)

    def replica():
        own = images[tf.distribute.get_replica_context().replica_id_in_sync_group]
        with tf.GradientTape() as tape, recomputation.recomputing(recomputes):
            tape.watch(own)
            outputs = recomputation.checkpointed(block, own, training=True)
        return outputs, tape.gradient(outputs, [own, *block.trainable_variables], output_gradients=upstream)

    results = tf.function(lambda: strategy.run(replica))()
    results = tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0].numpy(), results)
    return [results[0], *results[1], *(variable.numpy() for variable in block.non_trainable_variables)]


class RecomputationTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(1, 2)
    def test_recomputing_changes_neither_outputs_nor_gradients_nor_averages(self, replicas):
        strategy = testing.replicas(replicas)
        stored, recomputed = _step(strategy, False), _step(strategy, True)
        self.assertLen(stored, 1 + 1 + 9 + 6)  # three convolutions, and gain, offset and two averages of three norms
        for value, expected in zip(recomputed, stored, strict=True):
            self.assertAllClose(value, expected, rtol=1e-6, atol=1e-6)

    @parameterized.parameters((False, 1), (True, 2))
    def test_the_layer_is_called_again_for_the_gradient(self, recomputes, calls):
        class Layer(tf.keras.layers.Layer):
            called = 0

            def call(self, inputs, training):
                self.called += 1
                return tf.square(inputs)

        layer, inputs = Layer(), tf.constant([3.0])
        with tf.GradientTape() as tape, recomputation.recomputing(recomputes):
            tape.watch(inputs)
            outputs = recomputation.checkpointed(layer, inputs, training=True)
        self.assertAllClose(tape.gradient(outputs, inputs), [6.0])
        self.assertEqual(layer.called, calls)

    def test_averages_are_kept_in_the_block_only(self):
        norm = normalisation.BatchNorm(momentum=0.5)
        images = tf.constant([[2.0], [4.0]])
        with recomputation.keeping_averages():
            norm(images, training=True)
        self.assertAllEqual(norm.moving_mean, [0.0])
        norm(images, training=True)
        self.assertAllClose(norm.moving_mean, [1.5])


if __name__ == "__main__":
    tf.test.main()
