"""Trading time for memory: activations that are computed again for the gradient instead of being kept."""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

# Not plain globals: replicas trace their steps in threads that take turns.
_RECOMPUTES = contextvars.ContextVar("recomputes", default=False)
_MOVES_AVERAGES = contextvars.ContextVar("moves_averages", default=True)


@contextlib.contextmanager
def recomputing(on: bool) -> Iterator[None]:
    """Lets `checkpointed` compute activations again for the gradient of what is called in the block, or not."""
    token = _RECOMPUTES.set(on)
    try:
        yield
    finally:
        _RECOMPUTES.reset(token)


@contextlib.contextmanager
def keeping_averages() -> Iterator[None]:
    """Leaves moving averages of statistics as they are: for a pass over a batch that another pass has moved them by."""
    token = _MOVES_AVERAGES.set(False)
    try:
        yield
    finally:
        _MOVES_AVERAGES.reset(token)


def moves_averages() -> bool:
    """Tells whether a layer should move its averages."""
    return _MOVES_AVERAGES.get()


@tf.autograph.experimental.do_not_convert
def checkpointed(layer: tf.keras.layers.Layer, inputs: tf.Tensor, *, training: bool) -> tf.Tensor:
    """Calls a layer. Within `recomputing`, only its inputs are kept for the gradient; moving averages move once all the same.

    Args:
        layer: called with `training`.
        inputs: its only inputs.
        training: see there.

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
