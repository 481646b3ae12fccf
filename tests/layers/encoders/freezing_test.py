"""Tests of semppl.layers.encoders.freezing."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.blocks.normalisation import BatchNorm
from semppl.layers.encoders import freezing, registry

_CASES = (("convnet", 0.25, 8), ("resnet18", 0.125, 32), ("resnet50_v2_cifar", 0.125, 8), ("keras:MobileNet", 1, 32))


def _images(size):
    return tf.constant(np.random.default_rng(0).uniform(0, 1, (4, size, size, 3)), tf.float32)


def _names(variables):
    return {variable.ref() for variable in variables}


class FreezeTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*_CASES)
    def test_training_leaves_frozen_stages_as_they_are(self, name, width, size):
        encoder, images = registry.build_encoder(name, width=width), _images(size)
        freezing.freeze(encoder, norms=False, stages=1)
        encoder(images)
        frozen = [variable for layer in encoder.stages[0] for variable in layer.variables]
        before = [variable.numpy() for variable in frozen]
        expected = encoder(images)
        with tf.GradientTape() as tape:
            features = encoder(images, training=True)
        gradients = tape.gradient(features, encoder.trainable_variables)
        self.assertFalse(any(gradient is None for gradient in gradients))
        self.assertFalse(_names(frozen) & _names(encoder.trainable_variables))
        rest = [variable for stage in encoder.stages[1:] for layer in stage for variable in layer.variables]
        self.assertEqual(_names(encoder.variables), _names([*frozen, *rest]))
        for variable, old in zip(frozen, before, strict=True):
            self.assertAllEqual(variable, old)
        self.assertNotAllClose(features, expected)  # the batch norms of other stages train
        self.assertNotAllClose(encoder(images), expected)

    @parameterized.parameters(*_CASES)
    def test_frozen_norms_train_as_they_infer_and_nothing_else_is_frozen(self, name, width, size):
        encoder, images = registry.build_encoder(name, width=width), _images(size)
        freezing.freeze(encoder, norms=True, stages=0)
        expected = encoder(images)
        norms = [layer for layer in encoder._flatten_layers() if isinstance(layer, BatchNorm)]
        before = [variable.numpy() for norm in norms for variable in norm.variables]
        self.assertAllClose(encoder(images, training=True), expected, rtol=1e-4, atol=1e-5)
        after = [variable for norm in norms for variable in norm.variables]
        for variable, old in zip(after, before, strict=True):
            self.assertAllEqual(variable, old)
        trained = {variable.ref() for variable in encoder.variables} - _names(after)
        self.assertEqual(_names(encoder.trainable_variables), trained)

    @parameterized.parameters(*_CASES)
    def test_variables_have_one_order_whatever_is_frozen(self, name, width, size):
        shapes = []
        for stages in (0, 2):
            encoder = registry.build_encoder(name, width=width)
            freezing.freeze(encoder, norms=bool(stages), stages=stages)
            encoder(_images(size))
            self.assertEqual(_names(freezing.variables_of(encoder)), _names(encoder.variables))
            shapes.append([(v.name.split("/", 1)[1], v.shape) for v in freezing.variables_of(encoder)])
        self.assertEqual(*shapes)

    @parameterized.parameters(("convnet", 4, 3), ("resnet18", -1, 4), ("keras:MobileNet", 5, 4))
    def test_stages_that_are_not_there_are_refused(self, name, stages, count):
        encoder = registry.build_encoder(name)
        self.assertLen(freezing.stages_of(encoder), count)
        with self.assertRaisesRegex(ValueError, rf"`stages` must be in 0..{count}. Received: stages={stages}"):
            freezing.freeze(encoder, norms=False, stages=stages)

    def test_a_network_without_stages_has_none(self):
        self.assertEqual(freezing.stages_of(tf.keras.layers.Dense(3)), [])


if __name__ == "__main__":
    tf.test.main()
