"""Initialisers of weights."""

import tensorflow as tf

_DEVIATION_LEFT_BY_TRUNCATION = (
    0.87962566103423978  # of a standard normal cut at ±2; Keras divides by it, Haiku does not
)


def fan_in_normal() -> tf.keras.initializers.Initializer:
    """Makes the initialiser of every linear map and convolution of the official networks.

    A normal distribution of standard deviation 1/√fan-in, truncated at two standard deviations:
    Haiku's default. After the truncation its standard deviation is 0.88/√fan-in, that of Keras'
    `lecun_normal` 1/√fan-in.
    """
    return tf.keras.initializers.VarianceScaling(
        scale=_DEVIATION_LEFT_BY_TRUNCATION**2, mode="fan_in", distribution="truncated_normal"
    )
