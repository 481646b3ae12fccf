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
