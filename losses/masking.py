"""Masking of logits: excluded entries have the probability 0 in a softmax."""

import tensorflow as tf

NO_CANDIDATE = -1e9
"""Logit of an excluded entry, whose exponential is 0; finite, so that a softmax over excluded entries alone has the gradient 0,
not NaN."""


def without(similarities: tf.Tensor, excluded: tf.Tensor) -> tf.Tensor:
    """Returns similarities or logits with `NO_CANDIDATE` where `excluded`, bool of a shape that broadcasts to theirs, is true."""
    return tf.where(excluded, tf.constant(NO_CANDIDATE, similarities.dtype), similarities)
