"""InfoNCE: the cross-entropy of picking an anchor's positive out of its negatives."""

import tensorflow as tf

from semppl.losses.two_level_softmax import TwoLevelSoftmax, two_level_softmax


def info_nce(anchors: tf.Tensor, positives: tf.Tensor, negatives: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """Scores each anchor's positive against its negatives, in nats.

    Args:
        anchors: `[..., D]` unit-norm online predictions.
        positives: `[..., D]` unit-norm target projections, one per anchor.
        negatives: `[..., M, D]` unit-norm target projections.
        temperature: Divisor of every similarity; positive.

    Returns:
        `[...]` negative log-probability of the positive, unreduced.

    Reference: van den Oord et al. 2018, arXiv 1807.03748, eq. 4.
    """
    positive_logits = tf.einsum("...d,...d->...", anchors, positives) / temperature
    negative_logits = tf.einsum("...d,...md->...m", anchors, negatives) / temperature
    softmax = two_level_softmax(positive_logits[..., tf.newaxis], negative_logits)
    return cross_entropy_of_positives(softmax)[..., 0]


def cross_entropy_of_positives(softmax: TwoLevelSoftmax) -> tf.Tensor:
    """Computes the softmax cross-entropy whose label is the positive.

    Args:
        softmax: P softmaxes, each over one positive and the same negatives.

    Returns:
        `[..., P]` negative log-probability of each positive in nats, unreduced; 0 or more.
    """
    return -tf.math.log_sigmoid(softmax.positive_log_odds)
