"""The draw of negatives: a few other images of the global batch, for each image and target view."""

import tensorflow as tf


def draw_negatives(ids: tf.Tensor, rows: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Draws rows of other images, uniformly without replacement.

    Rows that show the same image (a small labelled set repeats within a batch) are not "other images" and are not drawn.
    The batch is sorted by id once, so an image's own rows are one block to leap over; each further draw is from what is left,
    and leaps over what was drawn. The cost is O(N log N + B·M²), with no `[B, N]` table. Where fewer than M rows of
    other images exist, rows repeat; with none at all, an own row comes back.

    Args:
        ids: `[N]` int64 image ids of the global batch.
        rows: `[B]` int32 positions of this replica's images in the global batch.
        numbers: `[B, ..., M]` int32 uniform random numbers in 0..2³¹−1.

    Returns:
        `[B, ..., M]` int32 positions in the global batch.

    Reference: docs/method.md; M = 10 and the lack of replacement are second-hand.
    """
    order = tf.argsort(ids, stable=True)
    sorted_ids = tf.gather(ids, order)
    own = tf.gather(ids, rows)
    expand = [...] + [tf.newaxis] * (numbers.shape.rank - 2)
    first = tf.searchsorted(sorted_ids, own, side="left")[tuple(expand)]  # [B, ...]
    count = tf.searchsorted(sorted_ids, own, side="right")[tuple(expand)] - first
    others = tf.maximum(tf.shape(ids)[0] - count, 1)
    drawn: list[tf.Tensor] = []
    ranks: list[tf.Tensor] = []
    for m in range(numbers.shape[-1]):
        rank = numbers[..., m] % tf.maximum(others - m, 1)
        for earlier in _ascending(drawn):
            rank += tf.cast(rank >= earlier, tf.int32)
        drawn.append(rank)
        ranks.append(rank % others)
    rank = tf.stack(ranks, axis=-1)
    place = rank + tf.where(rank >= first[..., tf.newaxis], count[..., tf.newaxis], 0)
    return tf.gather(order, tf.minimum(place, tf.shape(ids)[0] - 1))


def _ascending(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Sorts equal-shaped tensors against each other, elementwise."""
    if len(values) < 2:
        return values
    return tf.unstack(tf.sort(tf.stack(values, axis=-1), axis=-1), axis=-1)
