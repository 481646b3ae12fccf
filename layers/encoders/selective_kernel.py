"""Selective kernel: per image and channel, a weighting of two streams of a convolution."""

from typing import Any

import tensorflow as tf

from semppl.layers.blocks.normalisation import normalisation
from semppl.layers.blocks.precision import at_least_float32
from semppl.layers.encoders.pooling import spatial_mean

_SMALLEST_HIDDEN_WIDTH = 32


@tf.keras.saving.register_keras_serializable(package="semppl")
class SelectiveKernel(tf.keras.layers.Layer):
    """Mixes the two halves of the channels with weights computed from their spatial mean.

    The streams' convolution, normalisation and ReLU precede this layer.

    Args:
        ratio: Width of the hidden layer relative to the output's channels; the width is at least
            32. Default 0.0625.
        norm: Normalisation of the hidden layer, a key of `NORMALISATIONS`. Default "batch".

    Reference: Li et al. 2019, arXiv 1903.06586, section 3.1, with the two 3×3 streams of Chen et
    al. 2020, arXiv 2006.10029, appendix A.
    """

    def __init__(self, ratio: float = 0.0625, norm: str = "batch", **kwargs: Any):
        super().__init__(**kwargs)
        if ratio <= 0:
            raise ValueError(f"`ratio` must be positive. Received: ratio={ratio}")
        self.ratio = ratio
        self.norm = norm
        self.hidden_norm = normalisation(norm, name="hidden_norm")

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the two linear layers, whose widths depend on the input's channels."""
        channels = input_shape[-1]
        if channels % 2:
            raise ValueError(f"The channels must be two equal streams. Received: input_shape={input_shape}")
        hidden_width = max(int(channels // 2 * self.ratio), _SMALLEST_HIDDEN_WIDTH)
        linear = {"use_bias": False, "kernel_initializer": "lecun_normal"}
        self.hidden = tf.keras.layers.Dense(hidden_width, name="hidden", **linear)
        self.scores = tf.keras.layers.Dense(channels, name="scores", **linear)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps two streams `[B, H, W, 2C]` to their mixture `[B, H, W, C]`."""
        first, second = tf.split(inputs, 2, axis=-1)
        mean = spatial_mean(first + second)  # [B,C]
        hidden = tf.nn.relu(self.hidden_norm(self.hidden(mean), training=training))
        scores = tf.stack(tf.split(self.scores(hidden), 2, axis=-1))  # [2,B,C]
        weights = tf.nn.softmax(at_least_float32(scores), axis=0)[:, :, tf.newaxis, tf.newaxis]
        weights = tf.cast(weights, inputs.dtype)
        return first * weights[0] + second * weights[1]

    @property
    def normalised(self) -> list[tuple[tf.keras.layers.Layer, tf.keras.layers.Layer]]:
        """Pairs of a linear layer and the normalisation that alone takes its output."""
        return [(self.hidden, self.hidden_norm)]

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "ratio": self.ratio, "norm": self.norm}
