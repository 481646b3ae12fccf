"""Barlow Twins' loss: the cross-correlation of two views' embeddings should be the identity."""

import itertools

import tensorflow as tf

EPSILON = 1e-5
"""Added to each variance, as in batch norm."""


def cross_correlation(embeddings: tf.Tensor, *, redundancy_weight: float) -> tf.Tensor:
    """Computes Σ_i (1 − C_ii)² + λ·Σ_{i≠j} C_ij², where C = Zᵀ·Z'/N of embeddings standardised over the batch.

    Args:
        embeddings: `[V, N, D]` embeddings of the global batch, not normalised.
        redundancy_weight: λ, weight of the correlations of different dimensions.

    Returns:
        Scalar mean over the pairs of two views.

    Reference: Zbontar et al. 2021, arXiv 2103.03230, eq. 1 and 2.
    """
    mean, variance = tf.nn.moments(embeddings, axes=[1], keepdims=True)
    standardised = (embeddings - mean) * tf.math.rsqrt(variance + EPSILON)
    losses = []
    for view, other in itertools.combinations(tf.unstack(standardised), 2):
        correlation = tf.matmul(view, other, transpose_a=True) / embeddings.shape[1]  # [D,D]
        diagonal = tf.linalg.diag_part(correlation)
        redundancy = tf.reduce_sum(correlation**2) - tf.reduce_sum(diagonal**2)
        losses.append(tf.reduce_sum((1 - diagonal) ** 2) + redundancy_weight * redundancy)
    return tf.add_n(losses) / len(losses)
