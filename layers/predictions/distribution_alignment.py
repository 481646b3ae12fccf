"""Distribution alignment: predictions whose mean over unlabelled images is uniform over the classes."""

from typing import Any

import tensorflow as tf

from semppl.layers import collectives

_EPSILON = 1e-6  # added to each probability before it is divided by


@tf.keras.saving.register_keras_serializable(package="semppl")
class DistributionAlignment(tf.keras.layers.Layer):
    """Holds the mean predictions of the latest batches, and divides predictions by their mean.

    The means are of the global batch: every replica stores the same values in its own copy.

    Variables: means `[length, C]`, zeros at first; pointer, the next row to fill.

    Args:
        num_classes: Number of classes C.
        length: Number of latest batches over which predictions are averaged. Default 32.

    Reference: Berthelot et al. 2020, arXiv 1911.09785, section 3.1, towards a uniform distribution as in the code of USB,
    arXiv 2208.07204.
    """

    def __init__(self, num_classes: int, length: int = 32, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.num_classes = num_classes
        self.length = length
        self.means = self.add_weight("means", [length, num_classes], initializer="zeros", trainable=False)
        self.pointer = self.add_weight("pointer", [], tf.int32, initializer="zeros", trainable=False)

    def update(self, probabilities: tf.Tensor, included: tf.Tensor) -> None:
        """Stores a batch's mean prediction in place of the oldest; without an included image nothing changes.

        Args:
            probabilities: `[B, C]` predictions for this replica's images.
            included: `[B]` bool, true for the images that are averaged.
        """
        values = tf.concat([tf.ones_like(probabilities[:, :1]), probabilities], axis=1)
        totals = collectives.all_reduce_sum(tf.reduce_sum(tf.where(included[:, tf.newaxis], values, 0), axis=0))
        mean = tf.cast(tf.math.divide_no_nan(totals[1:], totals[0]), self.means.dtype)
        replaced = (tf.range(self.length) == self.pointer) & (totals[0] > 0)
        self.means.assign(tf.where(replaced[:, tf.newaxis], mean, self.means))
        self.pointer.assign((self.pointer + tf.cast(totals[0] > 0, tf.int32)) % self.length)

    def align(self, probabilities: tf.Tensor) -> tf.Tensor:
        """Multiplies predictions `[B, C]` by 1/C over the mean of the stored means, and divides by the sum over classes."""
        mean = tf.cast(tf.reduce_mean(self.means, axis=0), probabilities.dtype)
        aligned = probabilities * (1 / self.num_classes + _EPSILON) / (mean + _EPSILON)
        return aligned / tf.reduce_sum(aligned, axis=1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        config.update(num_classes=self.num_classes, length=self.length)
        config.pop("trainable", None)
        return config
