"""What the tests of several losses need: random embeddings, and a derivative to compare a gradient with."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    """Makes random unit-norm rows `[..., D]` in float64."""
    rows = np.random.default_rng(seed).normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def slopes(loss: Callable[[tf.Tensor], tf.Tensor], point: np.ndarray) -> tuple[float, float]:
    """Computes the derivative of the summed loss along a random direction, by the gradient and by finite differences."""
    direction = np.random.default_rng(1).normal(size=point.shape)
    start = tf.constant(point)
    with tf.GradientTape() as tape:
        tape.watch(start)
        value = tf.reduce_sum(loss(start))
    along = float(tf.reduce_sum(tape.gradient(value, start) * direction))
    ends = [float(tf.reduce_sum(loss(tf.constant(point + delta * direction)))) for delta in (1e-6, -1e-6)]
    return along, (ends[0] - ends[1]) / 2e-6


def gradient(loss: Callable[[tf.Tensor], tf.Tensor], point: np.ndarray) -> np.ndarray:
    """Computes the gradient of the summed loss in float32."""
    start = tf.constant(point, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(start)
        value = tf.reduce_sum(loss(start))
    return tape.gradient(value, start).numpy()
