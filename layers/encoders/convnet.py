"""A small convolutional encoder for tiny images."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from semppl.layers.blocks.normalisation import convolution, normalisation
from semppl.layers.encoders.pooling import spatial_mean


@tf.keras.saving.register_keras_serializable(package="semppl")
class ConvNet(tf.keras.layers.Layer):
    """Stages of 3×3 convolution, normalisation and ReLU, each after the first halving the image; then the mean.

    Args:
        widths: channels of every stage; the last is the width of the features.
        norm: a key of `NORMALISATIONS`; "group" also standardises the convolutions' weights.
        stem_stride: stride of the first stage: 1 keeps the detail of 8×8 digits, 2 is quicker on 32×32 photographs.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128), norm: str = "batch", stem_stride: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        if not widths or min(widths) < 1:
            raise ValueError(f"`widths` must be one or more positive integers. Received: widths={widths}")
        if stem_stride not in (1, 2):
            raise ValueError(f"`stem_stride` must be 1 or 2. Received: stem_stride={stem_stride}")
        self.widths = tuple(widths)
        self.norm = norm
        self.stem_stride = stem_stride
        self.convolutions = [
            convolution(width, 3, 2 if stage else stem_stride, standardise=norm == "group", name=f"conv_{stage}")
            for stage, width in enumerate(self.widths)
        ]
        self.norms = [normalisation(norm, name=f"norm_{stage}") for stage in range(len(self.widths))]

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, channels]` to features `[B, widths[-1]]`, float32 at least."""
        features = images
        for conv, norm in zip(self.convolutions, self.norms, strict=True):
            features = tf.nn.relu(norm(conv(features), training=training))
        return spatial_mean(features)

    @property
    def normalised(self) -> list[tuple[tf.keras.layers.Layer, tf.keras.layers.Layer]]:
        """The linear layers whose output goes to a normalisation and nowhere else, each with it."""
        return list(zip(self.convolutions, self.norms, strict=True))

    def get_config(self) -> dict:
        """Returns the arguments that make an equal layer."""
        return {**super().get_config(), "widths": self.widths, "norm": self.norm, "stem_stride": self.stem_stride}
