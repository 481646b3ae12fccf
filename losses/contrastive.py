"""The contrastive term: each anchor picks its positive out of a few sampled negatives."""

import tensorflow as tf


def info_nce(positives: tf.Tensor, negatives: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """Scores each anchor's positive against its negatives, in nats.

    Args:
        positives: `[...]` cosine similarity of each anchor to its positive.
        negatives: `[..., M]` cosine similarities of the same anchors to their negatives.
        temperature: divides every similarity; positive.

    Returns:
        `[...]` negative log-probability of the positive, unreduced; 0 or more.

    Reference: van den Oord et al. 2018, arXiv 1807.03748, eq. 4.
    """
    return -tf.nn.log_softmax(candidate_logits(positives, negatives, temperature=temperature))[..., 0]


def candidate_logits(positives: tf.Tensor, negatives: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """Puts the positive before its negatives: `[...]` and `[..., M]` similarities give `[..., 1 + M]` logits."""
    return tf.concat([positives[..., tf.newaxis], negatives], axis=-1) / temperature
