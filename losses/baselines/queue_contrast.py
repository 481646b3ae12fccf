"""MoCo's loss: a view's key of the same image against a queue of keys of other images."""

import tensorflow as tf

from semppl.losses.info_nce import cross_entropy_of_positives
from semppl.losses.two_level_softmax import two_level_softmax
from semppl.losses.view_pairs import mean_over_distinct_pairs


def queue_contrast(anchors: tf.Tensor, keys: tf.Tensor, queue: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """Scores the keys of an image's other views against the queue, in nats.

    Args:
        anchors: `[V, B, D]` unit-norm queries, the L large views first; the only argument with gradient.
        keys: `[L, B, D]` unit-norm keys of the same images.
        queue: `[L, Q, D]` unit-norm keys of earlier images.
        temperature: Divisor of every similarity; positive.

    Returns:
        `[B]` mean over the pairs of two views, unreduced over images.

    Reference: He et al. 2020, arXiv 1911.05722, eq. 1.
    """
    keys, queue = tf.stop_gradient(keys), tf.stop_gradient(queue)
    positives = tf.einsum("vbd,lbd->bvl", anchors, keys)[..., tf.newaxis] / temperature  # [B,V,L,1]
    negatives = tf.einsum("vbd,lqd->bvlq", anchors, queue) / temperature
    softmax = two_level_softmax(positives, negatives)
    return mean_over_distinct_pairs(cross_entropy_of_positives(softmax)[..., 0])
