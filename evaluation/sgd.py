"""SGD with Nesterov's momentum under a cosine: how the official evaluation trains a classifier."""

import math

import tensorflow as tf

MOMENTUM = 0.9


def cosine(step: int, *, peak: float, total_steps: int) -> float:
    """Returns the learning rate of a step: half a cosine from `peak` towards 0, without warm-up."""
    return peak * (1 + math.cos(math.pi * step / total_steps)) / 2


def nesterov_update(
    variable: tf.Variable, gradient: tf.Tensor, velocity: tf.Variable, *, learning_rate: tf.Tensor
) -> None:
    """Moves a variable: `v ← 0.9·v + g`, then `w ← w − lr·(g + 0.9·v)`.

    Keras' SGD has the learning rate inside `v`: not the same under a schedule.

    Args:
        variable: w.
        gradient: g, of w's shape.
        velocity: v, of w's shape; 0 at the beginning.
        learning_rate: scalar.

    Reference: Sutskever et al. 2013, as optax.sgd writes it, which the official evaluation uses.
    """
    velocity.assign(MOMENTUM * velocity + gradient)
    variable.assign_sub(learning_rate * (gradient + MOMENTUM * velocity))
