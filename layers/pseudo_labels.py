"""Pseudo-labels: a vote of the labelled queue entries nearest to an image's predictions."""

import math
from typing import NamedTuple

import tensorflow as tf

from semppl.layers.labels import NO_LABEL


class Votes(NamedTuple):
    """The outcome of a vote.

    Attributes:
        classes: `[B]` int32 elected classes, NO_LABEL where nothing voted.
        confidence: `[B]` share of the votes that the class got, in 0..1.
    """

    classes: tf.Tensor
    confidence: tf.Tensor


def nearest_neighbour_vote(
    anchors: tf.Tensor,
    groups: tf.Tensor,
    queue_embeddings: tf.Tensor,
    queue_labels: tf.Tensor,
    queue_groups: tf.Tensor,
    *,
    k: int,
    prior_corrected: bool = False,
) -> Votes:
    """Elects each image's class by the `k` nearest entries of every queue to every large view: L·L·k votes.

    Args:
        anchors: `[L, B, D]` unit-norm online predictions of the large views.
        groups: `[B]` int64 groups of the images; entries of an image's own group do not vote.
        queue_embeddings: `[L, Q, D]` unit-norm target projections.
        queue_labels: `[Q]` int32 labels, NO_LABEL where the slot is empty; empty slots never vote.
        queue_groups: `[Q]` int64 groups of the entries.
        k: Number of votes per (view, queue) pair, in 1..Q.
        prior_corrected: Whether to weight votes by the inverse of their class's share of the filled
            queue. Default False.

    Returns:
        The classes with the largest weight of votes; ties go to the larger summed similarity, then
        to the smaller class.

    Reference: SemPPL, arXiv 2301.05158: k-NN over a queue of projected labelled data. For K = 1,
    the exclusion of the image's own group and the ties see docs/reference/method.md.
    """
    excluded = (queue_labels == NO_LABEL)[tf.newaxis, :] | (
        groups[:, tf.newaxis] == queue_groups[tf.newaxis, :]
    )  # [B,Q]
    votes = [_queue_votes(anchors, queue, queue_labels, excluded, k) for queue in tf.unstack(queue_embeddings)]
    labels, similarities = (tf.concat(parts, axis=-1) for parts in zip(*votes, strict=True))  # [B,L·L·K]
    return tally(labels, similarities, class_counts(labels, queue_labels) if prior_corrected else None)


def class_counts(labels: tf.Tensor, queue_labels: tf.Tensor) -> tf.Tensor:
    """Counts the entries of `[Q]` int32 `queue_labels` that have each of `[...]` int32 labels: `[...]` int32."""
    ordered, flat = tf.sort(queue_labels), tf.reshape(labels, [-1])
    counts = tf.searchsorted(ordered, flat, side="right") - tf.searchsorted(ordered, flat, side="left")
    return tf.reshape(counts, tf.shape(labels))


def _queue_votes(
    anchors: tf.Tensor, queue: tf.Tensor, queue_labels: tf.Tensor, excluded: tf.Tensor, k: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the labels and similarities of one queue's votes, `[B, L·K]` each; a queue at a time saves memory."""
    num_views, batch, width = anchors.shape
    similarities = tf.matmul(tf.reshape(anchors, [num_views * batch, width]), queue, transpose_b=True)
    similarities = tf.reshape(similarities, [num_views, batch, queue.shape[0]])  # [L,B,Q]
    similarities = tf.where(excluded, tf.constant(-math.inf, similarities.dtype), similarities)
    nearest, slots = _largest(similarities, k)  # [L,B,K]
    labels = tf.where(tf.math.is_finite(nearest), tf.gather(queue_labels, slots), NO_LABEL)
    return _votes_per_image(labels), _votes_per_image(nearest)


def _largest(similarities: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the k largest of `[..., Q]` and their indices; of equal ones the first. k = 1 needs no sorting."""
    if k > 1:
        largest: tuple[tf.Tensor, tf.Tensor] = tf.math.top_k(similarities, k=k)
        return largest
    indices = tf.argmax(similarities, axis=-1, output_type=tf.int32)
    return tf.reduce_max(similarities, axis=-1, keepdims=True), indices[..., tf.newaxis]


def abstain(votes: Votes, *, min_share: tf.Tensor | float) -> Votes:
    """Withholds the class of images whose vote was not clear, such as images of none of the classes.

    Args:
        votes: Votes on the images.
        min_share: Smallest share of the votes that an image's class needs, in 0..1; 0 withholds
            none.

    Returns:
        The votes, with NO_LABEL and confidence 0 where the class is withheld.

    Not in the paper: see docs/reference/method.md.
    """
    clear = votes.confidence >= min_share
    return Votes(tf.where(clear, votes.classes, NO_LABEL), tf.where(clear, votes.confidence, 0.0))


def share_that_covers(confidence: tf.Tensor, unlabelled: tf.Tensor, *, coverage: float) -> tf.Tensor:
    """Finds the largest share of the votes that enough unlabelled images reach.

    Args:
        confidence: `[N]` share of the votes that each image's class got, in 0..1, over the global batch.
        unlabelled: `[N]` bool, whether the image has no label.
        coverage: Share of the unlabelled images, in 0..1, that are to reach it.

    Returns:
        The confidence of the ⌈coverage · U⌉-th clearest of U unlabelled images; infinity if that is none.

    Not in the paper: see docs/reference/method.md.
    """
    ordered = tf.sort(tf.where(unlabelled, confidence, -1.0), direction="DESCENDING")
    number = tf.math.ceil(coverage * tf.reduce_sum(tf.cast(unlabelled, tf.float32)))
    share = ordered[tf.maximum(tf.cast(number, tf.int32) - 1, 0)]
    return tf.where(number > 0, share, math.inf)


def _votes_per_image(votes: tf.Tensor) -> tf.Tensor:
    """Concatenates the votes on each image: `[L, B, K]` gives `[B, L·K]`."""
    return tf.reshape(tf.transpose(votes, [1, 0, 2]), [votes.shape[1], -1])


def tally(labels: tf.Tensor, similarities: tf.Tensor, entries: tf.Tensor | None = None) -> Votes:
    """Counts votes: the most frequent class wins, then the larger summed similarity, then the smaller class.

    Args:
        labels: `[B, U]` int32 class of each vote; NO_LABEL is no vote.
        similarities: `[B, U]` similarity of each voter to the image.
        entries: `[B, U]` int32 number of queue entries of each vote's class, by which the vote is
            divided; None (the default) weights all votes equally.

    Returns:
        The winners; NO_LABEL with confidence 0 where there was no vote.
    """
    cast = labels != NO_LABEL  # [B,U]
    agree = (labels[:, :, tf.newaxis] == labels[:, tf.newaxis, :]) & cast[:, tf.newaxis, :] & cast[:, :, tf.newaxis]
    counts = tf.reduce_sum(tf.cast(agree, tf.int32), axis=-1)  # [B,U]
    nearness = tf.reduce_sum(tf.where(agree, similarities[:, tf.newaxis, :], 0.0), axis=-1)
    weights = tf.cast(cast, tf.int32)  # [B,U]
    if entries is not None:
        each = tf.cast(tf.maximum(entries, 1), tf.float32)
        counts, weights = tf.cast(counts, tf.float32) / each, tf.cast(weights, tf.float32) / each
    leading = cast & (counts == tf.reduce_max(counts, axis=-1, keepdims=True))
    nearness = tf.where(leading, nearness, nearness.dtype.min)
    leading &= nearness == tf.reduce_max(nearness, axis=-1, keepdims=True)
    winner = tf.reduce_min(tf.where(leading, labels, labels.dtype.max), axis=-1)
    num_votes = tf.reduce_sum(weights, axis=-1)
    classes = tf.where(num_votes > 0, winner, NO_LABEL)
    confidence = tf.cast(tf.reduce_max(counts, axis=-1) / tf.where(num_votes > 0, num_votes, 1), tf.float32)
    unanimous = tf.reduce_all(~cast | (labels == winner[:, tf.newaxis]), axis=-1)
    # Sums of weights are rounded: a unanimous vote must have confidence 1, and no vote more.
    confidence = tf.where(unanimous & (num_votes > 0), 1.0, tf.minimum(confidence, 1.0))
    return Votes(classes, confidence)
