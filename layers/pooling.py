"""The mean over an image's pixels."""

import tensorflow as tf


def spatial_mean(features: tf.Tensor) -> tf.Tensor:
    """Averages `[B, H, W, C]` over the pixels to `[B, C]`, in float32 at least.

    TensorFlow's own mean of bfloat16 numbers adds them up in bfloat16 on a CPU: 256 + 1 is 256 there.
    """
    if features.dtype in (tf.bfloat16, tf.float16):
        features = tf.cast(features, tf.float32)
    return tf.reduce_mean(features, [1, 2])
