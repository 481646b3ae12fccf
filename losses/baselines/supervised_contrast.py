"""SupCon's loss: all views of all images of a class attract each other."""

import numpy as np
import tensorflow as tf


def supervised_contrast(
    anchors: tf.Tensor, everyone: tf.Tensor, *, rows: tf.Tensor, alike: tf.Tensor, temperature: float
) -> tf.Tensor:
    """Scores each positive of a view against all other views of the global batch, in nats.

    −1/|P| Σ_{p in P} log(e^{p/τ} / Σ_a e^{a/τ}), where a runs over all embeddings but the view's own, and P are those of
    them that show the same image or an image of its class. SupContrast multiplies this by τ/0.07, a part of the learning
    rate that is left out here.

    Args:
        anchors: `[V, B, D]` unit-norm embeddings of this replica's images.
        everyone: `[V, N, D]` unit-norm embeddings of the global batch.
        rows: `[B]` int32 positions of this replica's images in the global batch.
        alike: `[B, N]` bool, which images of the global batch are of an image's class; the image itself always is.
        temperature: Divisor of every similarity; positive.

    Returns:
        `[B]` mean over the views of each image, unreduced over images.

    Reference: Khosla et al. 2020, arXiv 2004.11362, eq. 2 (L_out).
    """
    num_views, size = everyone.shape[:2]
    logits = tf.einsum("vbd,wnd->bvwn", anchors, everyone) / temperature
    own = tf.one_hot(rows, size, on_value=True, off_value=False, dtype=tf.bool)[:, tf.newaxis, tf.newaxis]  # [B,1,1,N]
    itself = own & tf.eye(num_views, dtype=tf.bool)[:, :, tf.newaxis]  # [B,V,W,N]
    positive = (alike[:, tf.newaxis, tf.newaxis] | own) & ~itself
    others = tf.where(itself, tf.constant(-np.inf, logits.dtype), logits)
    log_probabilities = logits - tf.reduce_logsumexp(others, axis=[2, 3], keepdims=True)
    total = tf.reduce_sum(tf.where(positive, log_probabilities, 0), axis=[2, 3])  # [B,V]
    count = tf.reduce_sum(tf.cast(positive, logits.dtype), axis=[2, 3])
    return -tf.reduce_mean(tf.math.divide_no_nan(total, count), axis=1)
