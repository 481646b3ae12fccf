"""SwAV's loss: the cluster assignment of one view is predicted from another."""

import tensorflow as tf

from semppl.losses.view_pairs import mean_over_distinct_pairs

ITERATIONS = 3
"""Normalisations of rows and columns; the published number."""


def sinkhorn(scores: tf.Tensor, *, epsilon: float, iterations: int = ITERATIONS) -> tf.Tensor:
    """Assigns the images of a batch to prototypes, about equally many to each.

    e^{scores/ε} is divided by its sums over images, then by its sums over prototypes, several times.

    Args:
        scores: `[L, N, K]` cosines of the embeddings of the global batch and the prototypes.
        epsilon: ε, weight of the entropy: the smaller, the nearer the assignments are to 0 and 1.
        iterations: Number of times that both are divided. Default 3.

    Returns:
        `[L, N, K]` probabilities of the prototypes, without gradient.

    Reference: Caron et al. 2020, arXiv 2006.09882, eq. 4 and appendix A.
    """
    log_codes = tf.stop_gradient(scores) / epsilon
    for _ in range(iterations):
        log_codes -= tf.reduce_logsumexp(log_codes, axis=1, keepdims=True)
        log_codes -= tf.reduce_logsumexp(log_codes, axis=2, keepdims=True)
    return tf.exp(log_codes)


def swapped_prediction(scores: tf.Tensor, codes: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """Computes the cross-entropy of each view's softmax over prototypes and the other views' codes, in nats.

    Args:
        scores: `[V, B, K]` cosines of embeddings and prototypes, the L large views first.
        codes: `[L, B, K]` probabilities of the prototypes; without gradient.
        temperature: Divisor of every score; positive.

    Returns:
        `[B]` mean over the pairs of two views, unreduced over images.

    Reference: Caron et al. 2020, arXiv 2006.09882, eq. 2 and 6.
    """
    log_probabilities = tf.nn.log_softmax(scores / temperature)
    return mean_over_distinct_pairs(-tf.einsum("vbk,lbk->bvl", log_probabilities, tf.stop_gradient(codes)))
