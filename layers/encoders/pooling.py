"""The mean over an image's pixels."""

import tensorflow as tf

from semppl.layers.blocks.precision import at_least_float32


def spatial_mean(features: tf.Tensor) -> tf.Tensor:
    """Averages `[B, H, W, C]` over the pixels to `[B, C]`, in float32 at least.

    TensorFlow's own mean of bfloat16 numbers adds them up in bfloat16 on a CPU: 256 + 1 is 256 there.
    """
    return tf.reduce_mean(at_least_float32(features), [1, 2])
