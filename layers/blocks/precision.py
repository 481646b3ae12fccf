"""The precision of the networks' arithmetic; variables, statistics and losses stay in float32."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

PRECISIONS = ("float32", "bfloat16")


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Sets the Keras policy of the layers that are constructed in the block.

    Args:
        precision: "bfloat16" for matrix products, convolutions and activations in bfloat16 with
            float32 variables; "float32" for Keras' global policy, by default float32.

    Raises:
        ValueError: If `precision` is not one of `PRECISIONS`.
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
    """Casts 16-bit floats to float32, for sums, norms and softmaxes, and returns wider floats unchanged."""
    return tf.cast(values, tf.float32) if values.dtype in (tf.bfloat16, tf.float16) else values
