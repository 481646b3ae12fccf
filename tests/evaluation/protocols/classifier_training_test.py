"""Tests of semppl.evaluation.protocols.classifier_training."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.evaluation.protocols.classifier_training import ClassifierTraining
from semppl.layers.networks import OnlineNetwork
from semppl.tests import testing, tiny  # noqa: F401  (testing splits the CPU before TensorFlow starts)

_CLASSES, _STEPS, _RATE = 3, 4, 2.0


def _network():
    settings = Hyperparameters(**tiny.settings())
    tf.keras.utils.set_random_seed(5)
    network = OnlineNetwork(**settings.network, name="online")
    network.build([None, 8, 8, 1])
    return network


def _batches(steps=_STEPS):
    rng = np.random.default_rng(0)
    for _ in range(steps):
        labels = rng.integers(0, _CLASSES, 6).astype(np.int32)
        images = rng.uniform(0, 1, (6, 8, 8, 1)) * (1 + labels[:, None, None, None]) / _CLASSES
        yield {"images": tf.constant(images, tf.float32), "labels": tf.constant(labels)}


def _values(variables):
    return [variable.numpy() for variable in variables]


class ClassifierTrainingTest(tf.test.TestCase, parameterized.TestCase):
    def test_on_a_frozen_encoder_it_is_softmax_regression_by_nesterovs_momentum(self):
        network = _network()
        before = _values(network.encoder.variables)
        training = ClassifierTraining(network, features=16, num_classes=_CLASSES, frozen=True)
        loss = training.fit(_batches(), steps=_STEPS, learning_rate=_RATE)
        for variable, value in zip(network.encoder.variables, before, strict=True):  # running statistics too
            self.assertAllEqual(variable, value)

        weights, bias = np.zeros((16, _CLASSES)), np.zeros(_CLASSES)
        speeds = [np.zeros_like(weights), np.zeros_like(bias)]
        for step, batch in enumerate(_batches()):
            features = network.features(batch["images"]).numpy().astype(np.float64)
            logits = features @ weights + bias
            shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
            truth = np.eye(_CLASSES)[batch["labels"].numpy()]
            expected_loss = -np.mean(np.log((shares * truth).sum(-1)))
            gradients = [features.T @ (shares - truth) / 6, (shares - truth).mean(0)]
            rate = _RATE * (1 + math.cos(math.pi * step / _STEPS)) / 2
            speeds = [0.9 * speed + gradient for speed, gradient in zip(speeds, gradients, strict=True)]
            moves = [gradient + 0.9 * speed for speed, gradient in zip(speeds, gradients, strict=True)]
            weights, bias = weights - rate * moves[0], bias - rate * moves[1]
        self.assertAllClose(loss, expected_loss, rtol=1e-5, atol=0)
        self.assertAllClose(training.classifier.kernel, weights, rtol=1e-4, atol=1e-5)
        self.assertAllClose(training.classifier.bias, bias, rtol=1e-4, atol=1e-5)
        images = next(_batches(1))["images"]
        expected = network.features(images).numpy() @ weights + bias
        self.assertAllClose(training.logits(images), expected, rtol=1e-4, atol=1e-4)

    def test_an_encoder_that_is_not_frozen_is_trained_along_with_its_statistics(self):
        network = _network()
        before = {variable.name: variable.numpy() for variable in network.encoder.variables}
        training = ClassifierTraining(network, features=16, num_classes=_CLASSES, frozen=False)
        training.fit(_batches(), steps=_STEPS, learning_rate=0.1)
        for variable in network.encoder.variables:
            self.assertNotAllEqual(variable, before[variable.name])

    @parameterized.parameters(True, False)
    def test_every_fit_starts_anew(self, frozen):
        training = ClassifierTraining(_network(), features=16, num_classes=_CLASSES, frozen=frozen)
        results = []
        for _ in range(2):
            loss = training.fit(_batches(), steps=_STEPS, learning_rate=0.1)
            results.append(
                [loss, *_values(training.network.encoder.variables), *_values(training.classifier.variables)]
            )
        for first, second in zip(*results, strict=True):
            self.assertAllEqual(first, second)


if __name__ == "__main__":
    tf.test.main()
