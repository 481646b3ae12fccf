"""Global average pooling."""

import tensorflow as tf

from semppl.layers.blocks.precision import at_least_float32


def spatial_mean(features: tf.Tensor) -> tf.Tensor:
    """Averages `[B, H, W, C]` over the pixels to `[B, C]`, in float32 or wider.

    On a CPU, TensorFlow sums bfloat16 numbers in bfloat16, in which 256 + 1 is 256.
    """
    return tf.reduce_mean(at_least_float32(features), [1, 2])
