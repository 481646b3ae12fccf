"""BYOL's loss: the squared distance of unit-norm predictions and targets."""

import tensorflow as tf

from semppl.losses.view_pairs import mean_over_distinct_pairs


def cosine_distance(anchors: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns 2 − 2·cos of each view's prediction and the other views' targets, the squared distance of unit vectors.

    Args:
        anchors: `[V, B, D]` unit-norm online predictions, the L large views first; the only argument with gradient.
        targets: `[L, B, D]` unit-norm target projections of the same images.

    Returns:
        `[B]` mean over the pairs of two views, unreduced over images; in 0..4.

    Reference: Grill et al. 2020, arXiv 2006.07733, eq. 2, in both directions.
    """
    distances = 2 - 2 * tf.einsum("vbd,lbd->bvl", anchors, tf.stop_gradient(targets))
    return mean_over_distinct_pairs(distances)


def semantic_cosine_distance(anchors: tf.Tensor, entries: tf.Tensor) -> tf.Tensor:
    """Returns 2 − 2·cos of each view's prediction and the image's semantic positives.

    Args:
        anchors: `[V, B, D]` unit-norm online predictions; the only argument with gradient.
        entries: `[B, L, R, D]` unit-norm embeddings of each image's semantic positives, R for each of L queues.

    Returns:
        `[B]` mean over views and positives, unreduced over images; in 0..4.

    Reference: docs/reference/method.md.
    """
    return tf.reduce_mean(2 - 2 * tf.einsum("vbd,blrd->bvlr", anchors, tf.stop_gradient(entries)), axis=[1, 2, 3])
