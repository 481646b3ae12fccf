"""Backward-compatible training: new embeddings stay near those that an older network computes from the same images."""

import tensorflow as tf

from semppl.losses.nested import prefix


def compatibility_distance(projections: tf.Tensor, old_projections: tf.Tensor) -> tf.Tensor:
    """Returns 1 − cos of the first E dimensions of each view's projection and the older projection of the same view.

    Args:
        projections: `[L, B, D]` online projections of the large views; the only argument with gradient.
        old_projections: `[L, B, E]` unit-norm projections by the older network, E ≤ D.

    Returns:
        `[B]` mean over the views, unreduced over images; in 0..2.

    Reference: Shen et al. 2020, arXiv 2003.11942, with a distance in place of the loss by the older run's classifier.
    """
    old_projections = tf.cast(tf.stop_gradient(old_projections), projections.dtype)
    comparable = prefix(projections, old_projections.shape[-1])  # [L,B,E]
    return tf.reduce_mean(1 - tf.einsum("lbe,lbe->lb", comparable, old_projections), axis=0)
