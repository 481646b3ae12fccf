"""Floors: accuracies that need no encoder, below which an encoder is of no use."""

import numpy as np
import tensorflow as tf

from semppl.evaluation.logistic_regression import logistic_regression_classes

_LARGEST = 32  # side of the pixels that are classified
_LEVELS = 4  # of each of three channels, whose colours are counted together
_LEVELS_ALONE = 16  # of each channel, where there are not three


def small_pixels(images: tf.Tensor) -> tf.Tensor:
    """Flattens images `[B, S, S, C]` in 0..1, which are first averaged to 32 × 32 pixels if they are larger: `[B, P]`."""
    if images.shape[1] > _LARGEST:
        images = tf.image.resize(images, [_LARGEST, _LARGEST], method="area")
    return tf.reshape(images, [tf.shape(images)[0], images.shape[1] * images.shape[2] * images.shape[3]])


def colour_histograms(images: tf.Tensor) -> tf.Tensor:
    """Counts the colours of images.

    Args:
        images: `[B, H, W, C]` in 0..1.

    Returns:
        `[B, D]` square roots of the shares of pixels: of 4 × 4 × 4 colours for three channels, of 16 levels of each channel
        otherwise.
    """
    channels = images.shape[3]
    levels = _LEVELS if channels == 3 else _LEVELS_ALONE
    binned = tf.minimum(tf.cast(images * levels, tf.int32), levels - 1)
    if channels == 3:
        binned = tf.tensordot(binned, tf.constant([levels**2, levels, 1]), 1)[..., tf.newaxis]
        levels **= 3
    counts = tf.reduce_mean(tf.one_hot(binned, levels), axis=[1, 2])  # [B,C or 1,levels]
    return tf.sqrt(tf.reshape(counts, [tf.shape(counts)[0], counts.shape[1] * levels]))


def majority_classes(truth: np.ndarray) -> np.ndarray:
    """Answers the most frequent class of the ground truth `[t]` for every image: `[t]`; the smaller class in a tie."""
    values, counts = np.unique(truth, return_counts=True)
    return np.full_like(truth, values[counts.argmax()])


def histogram_classes(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Classifies histograms `[t, D]` by a logistic regression on histograms `[m, D]` with labels `[m]`: `[t]`."""
    return logistic_regression_classes(train, labels, test)
