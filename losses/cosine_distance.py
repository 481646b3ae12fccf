"""BYOL's loss: the squared distance of unit-norm predictions and targets."""

import tensorflow as tf


def cosine_distance(anchors: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns 2 − 2·cos of each view's prediction and the other views' targets, the squared distance of unit vectors.

    Args:
        anchors: `[V, B, D]` unit-norm online predictions, the L large views first; the only argument with gradient.
        targets: `[L, B, D]` unit-norm target projections of the same images.

    Returns:
        `[B]` mean over the pairs of two views, unreduced over images; in 0..4.

    Reference: Grill et al. 2020, arXiv 2006.07733, eq. 2, in both directions.
    """
    num_views, num_large = anchors.shape[0], targets.shape[0]
    distances = 2 - 2 * tf.einsum("vbd,lbd->bvl", anchors, tf.stop_gradient(targets))
    distinct = 1 - tf.eye(num_views, num_large, dtype=distances.dtype)
    return tf.reduce_sum(distances * distinct, axis=[1, 2]) / (num_large * (num_views - 1))
