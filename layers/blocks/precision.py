"""In what arithmetic layers compute: variables, statistics and everything beyond the networks stay in float32."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

PRECISIONS = ("float32", "bfloat16")


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Gives the layers that are made in the block a Keras policy.

    Args:
        precision: bfloat16: matrix products, convolutions and activations in bfloat16, variables in float32; float32: what
            Keras is set to, which is float32 unless somebody says otherwise.

    Raises:
        ValueError: if the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}. Received: precision={precision!r}")
    former = tf.keras.mixed_precision.global_policy()
    if precision == "bfloat16":
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(former)


def at_least_float32(values: tf.Tensor) -> tf.Tensor:
    """Casts 16-bit numbers to float32, before what they are too coarse for: sums, norms, softmaxes."""
    return tf.cast(values, tf.float32) if values.dtype in (tf.bfloat16, tf.float16) else values
