"""Gradient checkpointing: activations are recomputed for the gradient instead of being stored."""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

# Not plain globals: replicas trace their steps in interleaved threads.
_RECOMPUTES = contextvars.ContextVar("recomputes", default=False)
_MOVES_AVERAGES = contextvars.ContextVar("moves_averages", default=True)


@contextlib.contextmanager
def recomputing(on: bool) -> Iterator[None]:
    """Sets whether `checkpointed` calls in the block recompute activations for the gradient."""
    token = _RECOMPUTES.set(on)
    try:
        yield
    finally:
        _RECOMPUTES.reset(token)


@contextlib.contextmanager
def keeping_averages() -> Iterator[None]:
    """Keeps moving averages unchanged in the block: for the first of two passes over one batch."""
    token = _MOVES_AVERAGES.set(False)
    try:
        yield
    finally:
        _MOVES_AVERAGES.reset(token)


def moves_averages() -> bool:
    """Returns whether layers update their moving averages."""
    return _MOVES_AVERAGES.get()


@tf.autograph.experimental.do_not_convert
def checkpointed(layer: tf.keras.layers.Layer, inputs: tf.Tensor, *, training: bool) -> tf.Tensor:
    """Calls a layer; within `recomputing`, stores only its inputs, and updates moving averages once.

    Args:
        layer: Layer to call.
        inputs: Inputs of the layer, one tensor.
        training: Argument `training` of the layer's call.

    Returns:
        The layer's outputs.

    Reference: Chen et al. 2016, arXiv 1604.06174.
    """
    if not _RECOMPUTES.get():
        return layer(inputs, training=training)
    earlier_calls: list[tf.Tensor] = []

    def call(values: tf.Tensor) -> tf.Tensor:
        with keeping_averages() if earlier_calls else contextlib.nullcontext():
            earlier_calls.append(values)
            return layer(values, training=training)

    return tf.recompute_grad(call)(inputs)
