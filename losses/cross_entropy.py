"""Cross-entropy with label smoothing."""

import tensorflow as tf


def smoothed_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, *, smoothing: float = 0.0) -> tf.Tensor:
    """Returns the cross-entropy with label smoothing, in nats.

    Args:
        logits: `[..., C]` logits.
        labels: `[...]` int32 classes.
        smoothing: ε, the share that is spread, in [0, 1). Default 0.

    Returns:
        `[...]` (1 − ε)·(−log p_y) + ε·mean over classes c of (−log p_c), with p the softmax of the logits.

    Reference: Szegedy et al. 2016, arXiv 1512.00567, section 7.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if smoothing == 0:
        return losses
    spread = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
    return (1 - smoothing) * losses + smoothing * spread
