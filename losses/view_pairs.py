"""Means over pairs of views, one value per image."""

import tensorflow as tf


def mean_over_pairs(values: tf.Tensor) -> tf.Tensor:
    """Averages `[B, V, L]` over all pairs of views: `[B]`."""
    return tf.reduce_mean(values, axis=[1, 2])


def mean_over_distinct_pairs(values: tf.Tensor) -> tf.Tensor:
    """Averages `[B, V, L]` over the pairs of two views, of which the L come first among the V: `[B]`; 0 if V is 1."""
    num_views, num_large = values.shape[1:]
    distinct = 1 - tf.eye(num_views, num_large, dtype=values.dtype)
    return tf.reduce_sum(values * distinct, axis=[1, 2]) / max(num_large * (num_views - 1), 1)
