"""The vote: labelled queue entries nearest to an image's predictions name its class."""

import math
from typing import NamedTuple

import tensorflow as tf

from semppl.layers.labels import NO_LABEL


class Votes(NamedTuple):
    """Attributes: classes `[B]` int32, NO_LABEL where nothing voted; confidence `[B]` share of votes the class got, in 0..1."""

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
    """Lets the `k` nearest entries of every queue vote on each image, once per large view: L·L·k votes.

    Args:
        anchors: `[L, B, D]` unit-norm online predictions of the large views.
        groups: `[B]` int64; entries of the image's own group do not vote.
        queue_embeddings: `[L, Q, D]` unit-norm target projections.
        queue_labels: `[Q]` int32, NO_LABEL where the slot is empty; empty slots never vote.
        queue_groups: `[Q]` int64.
        k: votes per (view, queue) pair, in 1..Q.
        prior_corrected: whether a vote weighs the inverse of its class's share of the filled queue.

    Returns:
        The class with the most votes, by weight; ties go to the larger summed similarity, then to the smaller class.

    Reference: SemPPL, arXiv 2301.05158: k-NN over a queue of projected labelled data; K = 1, the exclusion of the own group and the
    ties: docs/reference/method.md.
    """
    barred = (queue_labels == NO_LABEL)[tf.newaxis, :] | (groups[:, tf.newaxis] == queue_groups[tf.newaxis, :])  # [B,Q]
    ballots = [_ballot(anchors, queue, queue_labels, barred, k) for queue in tf.unstack(queue_embeddings)]
    labels, nearness = (tf.concat(parts, axis=-1) for parts in zip(*ballots, strict=True))  # [B,L·L·K]
    return tally(labels, nearness, entries_of(labels, queue_labels) if prior_corrected else None)


def entries_of(labels: tf.Tensor, queue_labels: tf.Tensor) -> tf.Tensor:
    """Counts the queue's entries of each label, `[...]` int32, among `[Q]`: `[...]` int32."""
    ordered, flat = tf.sort(queue_labels), tf.reshape(labels, [-1])
    counts = tf.searchsorted(ordered, flat, side="right") - tf.searchsorted(ordered, flat, side="left")
    return tf.reshape(counts, tf.shape(labels))


def _ballot(
    anchors: tf.Tensor, queue: tf.Tensor, queue_labels: tf.Tensor, barred: tf.Tensor, k: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """One queue's votes, `[B, L·K]`: labels, and how near the voters are. A queue at a time needs the least memory."""
    num_views, batch, width = anchors.shape
    similarities = tf.matmul(tf.reshape(anchors, [num_views * batch, width]), queue, transpose_b=True)
    similarities = tf.reshape(similarities, [num_views, batch, queue.shape[0]])  # [L,B,Q]
    similarities = tf.where(barred, tf.constant(-math.inf, similarities.dtype), similarities)
    nearest, slots = _largest(similarities, k)  # [L,B,K]
    labels = tf.where(tf.math.is_finite(nearest), tf.gather(queue_labels, slots), NO_LABEL)
    return _votes_per_image(labels), _votes_per_image(nearest)


def _largest(similarities: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The k largest of `[..., Q]`, and where they are, the first of equal ones first. One is found without sorting."""
    if k > 1:
        largest: tuple[tf.Tensor, tf.Tensor] = tf.math.top_k(similarities, k=k)
        return largest
    places = tf.argmax(similarities, axis=-1, output_type=tf.int32)
    return tf.reduce_max(similarities, axis=-1, keepdims=True), places[..., tf.newaxis]


def abstain(votes: Votes, *, min_share: float) -> Votes:
    """Withholds the class of images whose winner got too few of the votes: what belongs to no known class is forced into none.

    Args:
        votes: of the images.
        min_share: share of its votes that an image's class needs, in 0..1; 0 withholds nothing.

    Returns:
        The same votes, with NO_LABEL and confidence 0 where they are withheld.

    Reference: docs/reference/method.md; decided here.
    """
    sure = votes.confidence >= min_share
    return Votes(tf.where(sure, votes.classes, NO_LABEL), tf.where(sure, votes.confidence, 0.0))


def _votes_per_image(votes: tf.Tensor) -> tf.Tensor:
    """Lines up every image's votes: `[L, B, K]` gives `[B, L·K]`."""
    return tf.reshape(tf.transpose(votes, [1, 0, 2]), [votes.shape[1], -1])


def tally(labels: tf.Tensor, similarities: tf.Tensor, entries: tf.Tensor | None = None) -> Votes:
    """Counts votes: the commonest class, then the larger summed similarity, then the smaller class.

    Args:
        labels: `[B, U]` int32 class each vote is for; NO_LABEL is no vote.
        similarities: `[B, U]` how near each voter was.
        entries: `[B, U]` int32, 1 or more: a vote counts as much as its class has few of these, equal for votes of one class; None:
            all votes count 1.

    Returns:
        The winners; NO_LABEL with confidence 0 where nothing voted.
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
    # Weights are rounded: their sum is not to tell 1 from a little less, or more.
    confidence = tf.where(unanimous & (num_votes > 0), 1.0, tf.minimum(confidence, 1.0))
    return Votes(classes, confidence)
