"""SimMatch's losses: two views agree on classes, and on their similarities to a memory bank of labelled images."""

import numpy as np
import tensorflow as tf


def similarity_distribution(
    embeddings: tf.Tensor, bank: tf.Tensor, filled: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """Returns the log-softmax of cosine similarities over the filled slots of a memory bank.

    Args:
        embeddings: `[B, D]` unit-norm embeddings.
        bank: `[Q, D]` unit-norm embeddings of labelled images.
        filled: `[Q]` bool, true where a slot holds an image.
        temperature: Divisor of every cosine; positive.

    Returns:
        `[B, Q]`, in nats; −∞ for an empty slot, and for all where all are empty.
    """
    infinite = tf.constant(-np.inf, embeddings.dtype)
    similarities = tf.where(filled, tf.einsum("bd,qd->bq", embeddings, bank) / temperature, infinite)
    total = tf.reduce_logsumexp(tf.where(tf.reduce_any(filled), similarities, 0), axis=1, keepdims=True)
    return similarities - total


def aggregate(distribution: tf.Tensor, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Sums a distribution over slots by class.

    Args:
        distribution: `[B, Q]` probabilities.
        labels: `[Q]` int32 classes of the slots; negative where a slot is empty.
        num_classes: Number of classes C.

    Returns:
        `[B, C]` probabilities of the classes.

    Reference: Zheng et al. 2022, arXiv 2203.06915, eq. 8.
    """
    return tf.matmul(distribution, tf.one_hot(labels, num_classes, dtype=distribution.dtype))


def unfold(distribution: tf.Tensor, probabilities: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Multiplies each slot's probability by that of its class, and divides by the sum.

    Args:
        distribution: `[B, Q]` probabilities.
        probabilities: `[B, C]` probabilities of the classes.
        labels: `[Q]` int32 classes of the slots; negative where empty.

    Returns:
        `[B, Q]` probabilities; zeros where all slots are empty.

    Reference: Zheng et al. 2022, arXiv 2203.06915, eq. 6 and 7.
    """
    of_slots = tf.gather(probabilities, tf.maximum(labels, 0), axis=1)  # [B,Q]
    product = distribution * tf.where(labels >= 0, of_slots, 0)
    return tf.math.divide_no_nan(product, tf.reduce_sum(product, axis=1, keepdims=True))


def soft_cross_entropy(targets: tf.Tensor, log_probabilities: tf.Tensor) -> tf.Tensor:
    """Computes −Σ t·log p, in nats; a target of 0 counts 0, whatever its probability.

    Args:
        targets: `[B, K]` target probabilities; without gradient.
        log_probabilities: `[B, K]` logarithms of predicted probabilities.

    Returns:
        `[B]`, unreduced.

    Reference: Zheng et al. 2022, arXiv 2203.06915, eq. 3 and 5.
    """
    targets = tf.stop_gradient(targets)
    present = targets > 0
    return -tf.reduce_sum(targets * tf.where(present, log_probabilities, 0), axis=1)
