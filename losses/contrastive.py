"""The contrastive term: each anchor picks its positive out of a few sampled negatives."""

from typing import NamedTuple

import tensorflow as tf


class Candidates(NamedTuple):
    """What an anchor makes of a positive among its negatives: the softmax over them, in two levels.

    Attributes:
        odds: `[..., P]` log-odds of each positive against all negatives together.
        shares: `[..., M]` log-probability of each negative, given that it is a negative; the same for every positive.
    """

    odds: tf.Tensor
    shares: tf.Tensor


def candidates(positives: tf.Tensor, negatives: tf.Tensor, *, temperature: float) -> Candidates:
    """Sets each of P positives, in turn, among the same negatives.

    Args:
        positives: `[..., P]` cosine similarities of each anchor to its positives.
        negatives: `[..., M]` cosine similarities of the same anchor to its negatives.
        temperature: divides every similarity; positive.

    Returns:
        The anchor's softmax over one positive and the negatives, for each positive.
    """
    negatives = negatives / temperature
    everyone = tf.reduce_logsumexp(negatives, axis=-1, keepdims=True)
    return Candidates(positives / temperature - everyone, negatives - everyone)


def info_nce(scored: Candidates) -> tf.Tensor:
    """Scores each anchor's positive against its negatives, in nats.

    Args:
        scored: what `candidates` makes of P positives.

    Returns:
        `[..., P]` negative log-probability of the positive, log(1 + e^−odds), unreduced; 0 or more.

    Reference: van den Oord et al. 2018, arXiv 1807.03748, eq. 4.
    """
    return tf.nn.softplus(-scored.odds)
