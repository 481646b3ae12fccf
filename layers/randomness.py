"""Random numbers for the train step, a pure function of (seed, purpose, step).

The numbers are equal in eager execution, in graphs and under XLA.
"""

from typing import Literal

import tensorflow as tf

Purpose = Literal["negatives", "semantic_positives"]

_PURPOSES: dict[str, int] = {"negatives": 4, "semantic_positives": 5}  # the data's keys of seed 0 are 0 to 3


def random_integers(shape: list[int], *, seed: int, purpose: Purpose, step: tf.Tensor) -> tf.Tensor:
    """Draws 31-bit integers.

    `tf.random.stateless_uniform` returns different floats under XLA, but equal bits, from which the
    integers are made.

    Args:
        shape: Static shape of the result.
        seed: Seed of the run.
        purpose: Use of the numbers; different purposes have independent numbers.
        step: Scalar integer, the optimiser's step.

    Returns:
        int32 tensor of shape `shape`, uniform in 0..2³¹−1.
    """
    key = tf.stack([tf.constant(seed * 1009 + _PURPOSES[purpose], tf.int64), tf.cast(step, tf.int64)])
    bits = tf.random.stateless_uniform(shape, seed=key, minval=None, maxval=None, dtype=tf.uint32, alg="philox")
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(1, tf.uint32)), tf.int32)
