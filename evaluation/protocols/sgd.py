"""SGD with Nesterov momentum and a cosine schedule, with which SemPPL's official evaluation code trains classifiers."""

import math

import tensorflow as tf

MOMENTUM = 0.9


def cosine(step: int, *, peak: float, total_steps: int) -> float:
    """Returns the learning rate of a step: a half cosine from `peak` towards 0, without warm-up."""
    return peak * (1 + math.cos(math.pi * step / total_steps)) / 2


def nesterov_update(
    variable: tf.Variable, gradient: tf.Tensor, velocity: tf.Variable, *, learning_rate: tf.Tensor
) -> None:
    """Updates a variable: `v ← 0.9·v + g`, then `w ← w − lr·(g + 0.9·v)`.

    Keras' SGD multiplies by the learning rate inside `v`, which differs when the learning rate changes.

    Args:
        variable: Weights w.
        gradient: Gradient g, of w's shape.
        velocity: Momentum v, of w's shape; initially 0.
        learning_rate: Scalar, 0 or more.

    Reference: Sutskever et al. 2013, in the form of optax.sgd, which the official evaluation code uses.
    """
    velocity.assign(MOMENTUM * velocity + gradient)
    variable.assign_sub(learning_rate * (gradient + MOMENTUM * velocity))
