"""A residual network for small photographs, after the networks of records of training speed on CIFAR-10."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from semppl.layers.blocks.normalisation import convolution, normalisation
from semppl.layers.encoders.pooling import spatial_mean
from semppl.layers.encoders.whitening import PatchWhitening


@tf.keras.saving.register_keras_serializable(package="semppl")
class ResNet9(tf.keras.layers.Layer):
    """Whitens patches, then applies groups of a pooled and a residual convolution, then takes the spatial mean.

    A group is a 3×3 convolution, 2×2 max-pooling, normalisation and ReLU, and x + ReLU(norm(conv(x))).

    Args:
        widths: Number of channels of each group; the last is the width of the features. Default (64, 128, 128).
        norm: Key of `NORMALISATIONS`; "group" also standardises the convolutions' weights. Default "batch".

    Reference: Page 2019, "How to train your ResNet"; Jordan 2024, arXiv 2404.00498.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 128), norm: str = "batch", **kwargs: Any):
        super().__init__(**kwargs)
        if not widths or min(widths) < 1:
            raise ValueError(f"`widths` must be one or more positive integers. Received: widths={widths}")
        self.widths = tuple(widths)
        self.norm = norm
        self.whitening = PatchWhitening(name="whitening")
        self.pooled, self.residual = (
            [
                convolution(width, 3, standardise=norm == "group", name=f"{part}_{group}")
                for group, width in enumerate(self.widths)
            ]
            for part in ("pooled", "residual")
        )
        self.pooled_norms, self.residual_norms = (
            [normalisation(norm, name=f"{part}_norm_{group}") for group in range(len(self.widths))]
            for part in ("pooled", "residual")
        )

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, channels]`, of `smallest_size` or more, to features `[B, widths[-1]]`, in float32 or wider."""
        features = tf.nn.relu(self.whitening(images))
        for pooled, pooled_norm, residual, residual_norm in self._groups():
            features = tf.nn.max_pool2d(pooled(features), 2, 2, "VALID")
            features = tf.nn.relu(pooled_norm(features, training=training))
            features += tf.nn.relu(residual_norm(residual(features), training=training))
        return spatial_mean(features)

    def _groups(self) -> list[tuple[tf.keras.layers.Layer, ...]]:
        return list(zip(self.pooled, self.pooled_norms, self.residual, self.residual_norms, strict=True))

    @property
    def smallest_size(self) -> int:
        """Smallest side of an image in pixels."""
        return int(2 ** len(self.widths) + 1)

    @property
    def normalised(self) -> list[tuple[tf.keras.layers.Layer, tf.keras.layers.Layer]]:
        """Pairs of a convolution and the normalisation of its output; pooled convolutions are left out."""
        return list(zip(self.residual, self.residual_norms, strict=True))

    @property
    def stages(self) -> list[list[tf.keras.layers.Layer]]:
        """The layers of each group; nothing of the whitening is ever trained."""
        return [list(group) for group in self._groups()]

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "widths": self.widths, "norm": self.norm}
