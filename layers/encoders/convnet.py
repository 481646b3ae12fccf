"""A small convolutional encoder for tiny images."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from semppl.layers.blocks.normalisation import convolution, normalisation
from semppl.layers.encoders.pooling import spatial_mean


@tf.keras.saving.register_keras_serializable(package="semppl")
class ConvNet(tf.keras.layers.Layer):
    """Stages of 3×3 convolution, normalisation and ReLU, then the spatial mean.

    Every stage but the first has stride 2.

    Args:
        widths: Numbers of channels of the stages; the last is the width of the features.
        norm: Key of `NORMALISATIONS`; "group" also standardises the convolutions' weights. Default
            "batch".
        stem_stride: Stride of the first stage: 1 (the default) for tiny images such as 8×8 digits,
            2 for 32×32 photographs.
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
        """Maps images `[B, H, W, channels]` to features `[B, widths[-1]]`, in float32 or wider."""
        features = images
        for conv, norm in zip(self.convolutions, self.norms, strict=True):
            features = tf.nn.relu(norm(conv(features), training=training))
        return spatial_mean(features)

    @property
    def normalised(self) -> list[tuple[tf.keras.layers.Layer, tf.keras.layers.Layer]]:
        """Pairs of a linear layer and the normalisation that alone takes its output."""
        return list(zip(self.convolutions, self.norms, strict=True))

    @property
    def stages(self) -> list[list[tf.keras.layers.Layer]]:
        """The layers of each stage."""
        return [list(pair) for pair in self.normalised]

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "widths": self.widths, "norm": self.norm, "stem_stride": self.stem_stride}
