"""FreeMatch's self-adaptive confidence thresholds, one per class."""

from typing import Any

import tensorflow as tf

from semppl.layers import collectives
from semppl.layers.moving_average import moving_average


@tf.keras.saving.register_keras_serializable(package="semppl")
class AdaptiveThresholds(tf.keras.layers.Layer):
    """Holds moving averages of the predictions of unlabelled images, and derives a threshold per class.

    The averages are of the global batch: every replica updates its own copy by the same values.

    Variables: confidence, the average of the largest probability; probabilities `[C]`, the average prediction; shares `[C]`,
    the share of the images by predicted class. All start at 1/C.

    Args:
        num_classes: Number of classes C.
        decay: Decay of the moving averages, in 0..1. Default 0.999, the published value.

    Reference: Wang et al. 2023, arXiv 2205.07246, eq. 5 to 8.
    """

    def __init__(self, num_classes: int, decay: float = 0.999, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.num_classes = num_classes
        self.decay = decay
        uniform = tf.keras.initializers.Constant(1 / num_classes)
        self.confidence = self.add_weight("confidence", [], initializer=uniform, trainable=False)
        self.probabilities = self.add_weight("probabilities", [num_classes], initializer=uniform, trainable=False)
        self.shares = self.add_weight("shares", [num_classes], initializer=uniform, trainable=False)

    def update(self, probabilities: tf.Tensor, included: tf.Tensor) -> None:
        """Moves the averages towards those of a batch; a batch without an included image changes nothing.

        Args:
            probabilities: `[B, C]` predictions for this replica's images.
            included: `[B]` bool, true for the images that are averaged.
        """
        largest = tf.reduce_max(probabilities, axis=1, keepdims=True)
        predicted = tf.one_hot(tf.argmax(probabilities, axis=1), self.num_classes, dtype=probabilities.dtype)
        values = tf.concat([tf.ones_like(largest), largest, probabilities, predicted], axis=1)  # [B,2+2·C]
        totals = collectives.all_reduce_sum(tf.reduce_sum(tf.where(included[:, tf.newaxis], values, 0), axis=0))
        count, means = totals[0], tf.math.divide_no_nan(totals[1:], totals[0])
        decay = tf.where(count > 0, tf.cast(self.decay, means.dtype), 1)
        parts = zip(
            (self.confidence, self.probabilities, self.shares),
            (means[0], means[1 : 1 + self.num_classes], means[1 + self.num_classes :]),
            strict=True,
        )
        for variable, mean in parts:
            variable.assign(moving_average(tf.convert_to_tensor(variable), mean, decay))

    def thresholds(self) -> tf.Tensor:
        """Returns the confidence threshold of each class: `[C]`, in 0..1.

        A threshold is the average confidence, times the average probability of the class over that of the most probable class.
        """
        probabilities = tf.convert_to_tensor(self.probabilities)
        return self.confidence * probabilities / tf.reduce_max(probabilities)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        config.update(num_classes=self.num_classes, decay=self.decay)
        config.pop("trainable", None)
        return config
