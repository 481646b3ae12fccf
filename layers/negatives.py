"""The draw of negatives: a few other images of the global batch, for each image and target view."""

import tensorflow as tf


def draw_negatives(groups: tf.Tensor, rows: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Draws rows of other images, uniformly without replacement.

    Rows that show the same image (a small labelled set repeats within a batch) are not "other images" and are not drawn.
    The batch is sorted by id once, so an image's own rows are one block to leap over; each further draw is from what is left,
    and leaps over what was drawn. Ranks are decoded as a Lehmer code: O(N log N + B·M²), with no `[B, N]` table. Where fewer
    than M rows of other images exist, the rest is drawn uniformly with replacement; with none at all, an own row comes back.

    Args:
        groups: `[N]` int64 groups of the global batch.
        rows: `[B]` int32 positions of this replica's images in the global batch.
        numbers: `[B, ..., M]` int32 uniform random numbers in 0..2³¹−1.

    Returns:
        `[B, ..., M]` int32 positions in the global batch.

    Reference: docs/reference/method.md; M = 10 and the lack of replacement are second-hand.
    """
    order = tf.argsort(groups, stable=True)
    sorted_groups = tf.gather(groups, order)
    own = tf.gather(groups, rows)
    expand = [...] + [tf.newaxis] * (numbers.shape.rank - 1)
    first = tf.searchsorted(sorted_groups, own, side="left")[tuple(expand)]  # [B, ..., 1]
    count = tf.searchsorted(sorted_groups, own, side="right")[tuple(expand)] - first
    others = tf.maximum(tf.shape(groups)[0] - count, 1)
    turns = tf.range(numbers.shape[-1])
    repeats = turns >= others  # nothing is left to draw from: draw from all again
    ranks = numbers % tf.where(repeats, others, others - turns)  # [B, ..., M], each among what the earlier draws left
    for turn in reversed(range(numbers.shape[-1] - 1)):  # decode: leap over each earlier draw, the latest first
        leaps = (turns > turn) & (ranks >= ranks[..., turn : turn + 1]) & ~repeats
        ranks += tf.cast(leaps, tf.int32)
    places = ranks + tf.where(ranks >= first, count, 0)
    return tf.gather(order, tf.minimum(places, tf.shape(groups)[0] - 1))
