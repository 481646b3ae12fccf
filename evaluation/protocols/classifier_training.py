"""Training of a linear classifier on an encoder that is frozen or trained too, repeatedly from the same initial weights."""

from collections.abc import Iterable

import tensorflow as tf

from semppl.evaluation.protocols.sgd import cosine, nesterov_update
from semppl.layers.networks import TargetNetwork


class ClassifierTraining:
    """Trains a zero-initialised linear classifier by cross-entropy, without weight decay.

    Args:
        network: Network whose encoder is used, in inference mode if frozen. `fit` changes the weights of an encoder that is not
            frozen.
        features: Width of the encoder's features, F.
        num_classes: Number of classes, C.
        frozen: Whether the encoder's weights stay fixed.
    """

    def __init__(self, network: TargetNetwork, *, features: int, num_classes: int, frozen: bool) -> None:
        self.network = network
        self.frozen = frozen
        self.classifier = tf.keras.layers.Dense(num_classes, kernel_initializer="zeros", name="classifier")
        self.classifier.build([None, features])
        self._variables = [*network.encoder.variables, *self.classifier.variables]
        self._start = [variable.numpy() for variable in self._variables]
        encoder = [] if frozen else network.encoder.trainable_variables
        self._trained = [*encoder, *self.classifier.trainable_variables]
        self._velocities = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in self._trained]

    def fit(self, batches: Iterable[dict[str, tf.Tensor]], *, steps: int, learning_rate: float) -> float:
        """Resets the weights to their initial values, and trains.

        Args:
            batches: One dict per step: "images" `[B, H, W, C]` in 0..1 and "labels" integers `[B]`.
            steps: Number of batches.
            learning_rate: Initial learning rate, which decays by a cosine.

        Returns:
            The loss of the last step.
        """
        for variable, value in zip(self._variables, self._start, strict=True):
            variable.assign(value)
        for velocity in self._velocities:
            velocity.assign(tf.zeros_like(velocity))
        loss = tf.constant(0.0)
        for step, batch in enumerate(batches):
            rate = tf.constant(cosine(step, peak=learning_rate, total_steps=steps))
            loss = self._step(batch["images"], batch["labels"], rate)
        return float(loss)

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Maps images `[B, H, W, C]` in 0..1 to logits `[B, num_classes]`, in inference mode."""
        return self.classifier(self.network.features(images))

    @tf.function(reduce_retracing=True, autograph=False)
    def _step(self, images: tf.Tensor, labels: tf.Tensor, learning_rate: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.classifier(self.network.features(images, training=not self.frozen))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        for variable, gradient, velocity in zip(
            self._trained, tape.gradient(loss, self._trained), self._velocities, strict=True
        ):
            nesterov_update(variable, gradient, velocity, learning_rate=learning_rate)
        return loss
