"""Masks of softmaxes: what is no candidate gets no probability."""

import tensorflow as tf

NO_CANDIDATE = -1e9
"""Similarity or logit whose exponential is 0; finite, so that a softmax without any candidate has the gradient 0, not NaN."""


def without(similarities: tf.Tensor, excluded: tf.Tensor) -> tf.Tensor:
    """Returns similarities or logits with `NO_CANDIDATE` where a bool tensor, which broadcasts against them, is True."""
    return tf.where(excluded, tf.constant(NO_CANDIDATE, similarities.dtype), similarities)
