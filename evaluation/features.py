"""Runs a frozen network over images."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def embed(function: Callable[[tf.Tensor], tf.Tensor], images: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
    """Maps images through a network, a batch at a time.

    Args:
        function: maps `[B, H, W, C]` to `[B, D]`, in inference mode.
        images: `[n, H, W, C]` uint8, or float32 in 0..1.
        batch_size: images at a time.

    Returns:
        `[n, D]` float32.
    """
    compiled = tf.function(function, reduce_retracing=True)
    parts = [compiled(tf.constant(images[i : i + batch_size])).numpy() for i in range(0, len(images), batch_size)]
    return np.concatenate(parts)
