"""Sampling of semantic positives: queue entries of the image's class."""

from typing import NamedTuple

import tensorflow as tf

from semppl.layers.labels import NO_LABEL


class SemanticPositives(NamedTuple):
    """The semantic positives of a batch.

    Attributes:
        slots: `[B, ..., R]` int32 queue slots.
        present: `[B]` bool, False where the queue lacks the class.
    """

    slots: tf.Tensor
    present: tf.Tensor


def entries_at(queue_embeddings: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
    """Returns the entries of L queues `[L, Q, D]` in slots `[B, L, R]`: `[B, L, R, D]`."""
    queues = zip(tf.unstack(queue_embeddings), tf.unstack(slots, axis=1), strict=True)
    return tf.stack([tf.gather(queue, own) for queue, own in queues], axis=1)


def draw_semantic_positives(classes: tf.Tensor, queue_labels: tf.Tensor, numbers: tf.Tensor) -> SemanticPositives:
    """Samples queue slots of each image's class, uniformly with replacement.

    The labels are sorted once, so that each class is one block to sample from: O(Q log Q + B·R),
    without a `[B, Q]` table.

    Args:
        classes: `[B]` int32 class of each image, or NO_LABEL.
        queue_labels: `[Q]` int32 label of each slot, NO_LABEL where the slot is empty.
        numbers: `[B, ..., R]` int32 uniform random numbers in 0..2³¹−1.

    Returns:
        The sampled slots; slot 0 where `present` is False. With R = 0, `present` is False for all
        images.

    Reference: SemPPL, arXiv 2301.05158; R = 3 and sampling with replacement come from a
    re-implementation (docs/reference/method.md).
    """
    order = tf.argsort(queue_labels, stable=True)
    sorted_labels = tf.gather(queue_labels, order)
    first = tf.searchsorted(sorted_labels, classes, side="left")
    count = tf.searchsorted(sorted_labels, classes, side="right") - first
    present = (classes != NO_LABEL) & (count > 0) & (numbers.shape[-1] > 0)
    shape = [-1] + [1] * (numbers.shape.rank - 1)
    position = tf.reshape(first, shape) + numbers % tf.reshape(tf.maximum(count, 1), shape)
    slots = tf.gather(order, tf.minimum(position, tf.shape(queue_labels)[0] - 1))
    return SemanticPositives(tf.where(tf.reshape(present, shape), slots, 0), present)
