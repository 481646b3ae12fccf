"""Sampling of negatives: a few other images of the global batch, for each image and target view."""

import tensorflow as tf

from semppl.layers.labels import NO_LABEL


def draw_negatives(groups: tf.Tensor, rows: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Samples rows of other images, uniformly without replacement.

    Rows of the image's own group are never sampled (a small labelled set repeats within a batch),
    unless the batch has no others. Where fewer than M rows of other groups exist, the remainder is
    sampled uniformly with replacement.

    The batch is sorted by group once, so that the rows to skip are one block; each further sample
    is a rank among the remaining rows. The ranks are decoded as a Lehmer code: O(N log N + B·M²),
    without a `[B, N]` table.

    Args:
        groups: `[N]` int64 groups of the global batch.
        rows: `[B]` int32 positions of this replica's images in the global batch.
        numbers: `[B, ..., M]` int32 uniform random numbers in 0..2³¹−1.

    Returns:
        `[B, ..., M]` int32 positions in the global batch.

    Reference: docs/reference/method.md; M = 10 and sampling without replacement come from a
    re-implementation.
    """
    order = tf.argsort(groups, stable=True)
    sorted_groups = tf.gather(groups, order)
    image_groups = tf.gather(groups, rows)
    expand = [...] + [tf.newaxis] * (numbers.shape.rank - 1)
    first = tf.searchsorted(sorted_groups, image_groups, side="left")[tuple(expand)]  # [B, ..., 1]
    count = tf.searchsorted(sorted_groups, image_groups, side="right")[tuple(expand)] - first
    num_others = tf.maximum(tf.shape(groups)[0] - count, 1)
    draws = tf.range(numbers.shape[-1])
    replaced = draws >= num_others  # no row remains: sample with replacement
    ranks = numbers % tf.where(replaced, num_others, num_others - draws)  # [B, ..., M], among the remaining rows
    for draw in reversed(range(numbers.shape[-1] - 1)):  # decode: skip each earlier draw, the latest first
        skips = (draws > draw) & (ranks >= ranks[..., draw : draw + 1]) & ~replaced
        ranks += tf.cast(skips, tf.int32)
    positions = ranks + tf.where(ranks >= first, count, 0)  # in `order`, skipping the image's own group
    return tf.gather(order, tf.minimum(positions, tf.shape(groups)[0] - 1))


def exclusion_keys(groups: tf.Tensor, labels: tf.Tensor, classes: tf.Tensor, *, num_classes: int) -> tf.Tensor:
    """Returns a key for each image; images with equal keys are to be no negatives of one another.

    These are images of one group, and groups of one class. The class of a group is its label, or else the largest of its
    pseudo-labels: copies of an image may get different ones. In a batch of one class alone, the keys are the groups.

    Args:
        groups: `[N]` int64 groups of the global batch, 0 or more.
        labels: `[N]` int32 labels, NO_LABEL where hidden.
        classes: `[N]` int32 labels or pseudo-labels, NO_LABEL where neither is known.
        num_classes: Number of classes.

    Returns:
        `[N]` int64 keys, to be passed to `draw_negatives` as groups.
    """
    places = tf.searchsorted(tf.sort(groups), groups)  # [N] in 0..N−1, equal within a group
    ranked = tf.where(labels != NO_LABEL, labels + num_classes, classes)  # a label is larger than every pseudo-label
    known = tf.gather(tf.math.unsorted_segment_max(ranked, places, groups.shape[0]), places)
    keys = tf.where(known == NO_LABEL, groups, -1 - tf.cast(known % num_classes, groups.dtype))
    return tf.where(tf.reduce_all(keys == keys[0]), groups, keys)
