"""PAWS' losses: the views of an image have consistent soft class assignments by a support set of labelled images."""

import numpy as np
import tensorflow as tf

NEGLIGIBLE = 1e-4
"""Target probability below which a class is left out."""


def soft_neighbour_assignment(
    embeddings: tf.Tensor, supports: tf.Tensor, labels: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """Averages the labels of the support set, weighted by the softmax of cosine similarities.

    Args:
        embeddings: `[V, B, D]` unit-norm embeddings.
        supports: `[S, D]` unit-norm embeddings of the support set.
        labels: `[S, C]` class probabilities of these images, such as smoothed one-hot labels; zeros for an image without a label.
        temperature: Divisor of every cosine; positive.

    Returns:
        `[V, B, C]` probabilities; zeros where no image of the support set has a label.

    Reference: Assran et al. 2021, arXiv 2104.13963, eq. 1.
    """
    labelled = tf.reduce_sum(labels, axis=1) > 0
    similarities = tf.einsum("vbd,sd->vbs", embeddings, supports) / temperature
    masked = tf.where(labelled, similarities, tf.constant(-np.inf, similarities.dtype))
    weights = tf.nn.softmax(tf.where(tf.reduce_any(labelled), masked, similarities))
    return tf.einsum("vbs,sc->vbc", weights, labels)


def sharpen(probabilities: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """Computes p^{1/T} over its sum, along the last axis: the lower T, the nearer to one-hot.

    Reference: Assran et al. 2021, arXiv 2104.13963, section 3.
    """
    return tf.nn.softmax(_log(probabilities) / temperature)


def assignment_targets(probabilities: tf.Tensor, *, num_views: int, temperature: float) -> tf.Tensor:
    """Computes the target of each view: the mean of the sharpened assignments of the other large views.

    Args:
        probabilities: `[L, B, C]` assignments of the large views.
        num_views: V ≥ L, number of views, the large ones first. A small view has the mean over all large views as target.
        temperature: T of `sharpen`.

    Returns:
        `[V, B, C]`, without gradient; entries below 1e-4 are 0, and the others are not scaled up.

    Reference: Assran et al. 2021, arXiv 2104.13963, section 3, and the published code.
    """
    sharp = sharpen(tf.stop_gradient(probabilities), temperature=temperature)
    num_large = sharp.shape[0]
    other = 1 - tf.eye(num_views, num_large, dtype=sharp.dtype)  # [V,L]
    shares = other / tf.reduce_sum(other, axis=1, keepdims=True)
    targets = tf.einsum("vl,lbc->vbc", shares, sharp)
    return tf.where(targets >= NEGLIGIBLE, targets, 0)


def assignment_consistency(probabilities: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Computes the cross-entropy −Σ t·log p of assignments and targets `[V, B, C]`, in nats: `[B]` mean over views.

    Reference: Assran et al. 2021, arXiv 2104.13963, eq. 2, first term.
    """
    return tf.reduce_mean(-tf.reduce_sum(tf.stop_gradient(targets) * _log(probabilities), axis=2), axis=0)


def negative_entropy(probabilities: tf.Tensor) -> tf.Tensor:
    """Computes Σ p·log p of a mean assignment `[C]`, in nats; smallest, −ln C, where all classes are equally frequent.

    Reference: Assran et al. 2021, arXiv 2104.13963, eq. 2, second term (me-max).
    """
    return tf.reduce_sum(probabilities * _log(probabilities))


def _log(probabilities: tf.Tensor) -> tf.Tensor:
    return tf.math.log(tf.maximum(probabilities, np.finfo(probabilities.dtype.as_numpy_dtype).tiny))
