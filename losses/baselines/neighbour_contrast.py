"""NNCLR's loss: the nearest neighbour of a view against the predictions of all images."""

import tensorflow as tf

from semppl.losses.masking import without
from semppl.losses.view_pairs import mean_over_distinct_pairs


def neighbour_contrast(
    neighbours: tf.Tensor, predictions: tf.Tensor, *, rows: tf.Tensor, same: tf.Tensor, temperature: float
) -> tf.Tensor:
    """Scores the predictions of an image's other views against those of all images, in nats.

    Args:
        neighbours: `[V, B, D]` unit-norm nearest neighbours of this replica's views; without gradient.
        predictions: `[V, N, D]` unit-norm predictions of the global batch.
        rows: `[B]` int32 positions of this replica's images in the global batch.
        same: `[B, N]` bool, true where a row of the global batch shows the same image: the image's own row, which is the positive,
            and repetitions, which are neither positives nor negatives.
        temperature: Divisor of every similarity; positive.

    Returns:
        `[B]` mean over the pairs of two views, unreduced over images.

    Reference: Dwibedi et al. 2021, arXiv 2104.14548, eq. 3, in both directions.
    """
    logits = tf.einsum("vbd,wnd->bvwn", tf.stop_gradient(neighbours), predictions) / temperature
    own = tf.one_hot(rows, predictions.shape[1], on_value=True, off_value=False, dtype=tf.bool)  # [B,N]
    positives = tf.reduce_sum(tf.where(own[:, tf.newaxis, tf.newaxis], logits, 0), axis=-1)  # [B,V,W]
    candidates = without(logits, (same & ~own)[:, tf.newaxis, tf.newaxis])
    return mean_over_distinct_pairs(tf.reduce_logsumexp(candidates, axis=-1) - positives)
