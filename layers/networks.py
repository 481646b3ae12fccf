"""The online network, which predicts the projections of the target network."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from semppl.layers.blocks.precision import at_least_float32
from semppl.layers.encoders.registry import build_encoder
from semppl.layers.heads import MLP


@tf.keras.saving.register_keras_serializable(package="semppl")
class PixelNormalisation(tf.keras.layers.Layer):
    """Centres and scales pixels per channel, before the encoder rounds them to its precision.

    Args:
        mean: Mean of each channel, in 0..1.
        stddev: Standard deviation of each channel; positive.
    """

    def __init__(self, mean: Sequence[float], stddev: Sequence[float], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.mean = tuple(mean)
        self.stddev = tuple(stddev)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Maps images `[B, H, W, C]` in 0..1 to standardised images of that shape."""
        return (images - tf.constant(self.mean, images.dtype)) / tf.constant(self.stddev, images.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"mean": self.mean, "stddev": self.stddev}


@tf.keras.saving.register_keras_serializable(package="semppl")
class TargetNetwork(tf.keras.Model):
    """Encoder and projector: f and g.

    Args:
        encoder: Name of the encoder, see `check_encoder`.
        width: Multiplier of the encoder's channels.
        norm: Normalisation, a key of `NORMALISATIONS`.
        head_width: Width of the projector's hidden layer.
        embedding_width: Width D of the projections.
        pixel_mean: Mean of each channel of the images, in 0..1. Not used by an encoder that prepares
            pixels by itself, as pretrained networks do.
        pixel_stddev: Standard deviation of each channel; positive. Not used by such an encoder.
    """

    def __init__(
        self,
        *,
        encoder: str,
        width: float,
        norm: str,
        head_width: int,
        embedding_width: int,
        pixel_mean: Sequence[float],
        pixel_stddev: Sequence[float],
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # `pixels` takes images in float32
        self._arguments = {
            "encoder": encoder,
            "width": width,
            "norm": norm,
            "head_width": head_width,
            "embedding_width": embedding_width,
            "pixel_mean": tuple(pixel_mean),
            "pixel_stddev": tuple(pixel_stddev),
        }
        self.encoder = build_encoder(encoder, width=width, norm=norm)
        if getattr(self.encoder, "prepares_pixels", False):
            channels = len(pixel_mean)
            pixel_mean, pixel_stddev = (0.0,) * channels, (1.0,) * channels
        self.pixels = PixelNormalisation(pixel_mean, pixel_stddev, name="pixels")
        self.projector = MLP(head_width, embedding_width, norm, name="projector")

    def features(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, C]` in 0..1 to the encoder's features `[B, F]`."""
        return self.encoder(self.pixels(images), training=training)

    def project(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, C]` in 0..1 to unit-norm projections `[B, D]`."""
        return unit_norm(self.projector(self.features(images, training=training), training=training))

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Alias of `project`, so that the network can be called."""
        return self.project(images, training=training)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"name": self.name} | self._arguments


@tf.keras.saving.register_keras_serializable(package="semppl")
class OnlineNetwork(TargetNetwork):
    """Encoder, projector and predictor: f, g and h; the arguments are those of `TargetNetwork`."""

    def __init__(self, *, norm: str, head_width: int, embedding_width: int, **kwargs: Any) -> None:
        super().__init__(norm=norm, head_width=head_width, embedding_width=embedding_width, **kwargs)
        self.predictor = MLP(head_width, embedding_width, norm, name="predictor")

    @property
    def projecting_variables(self) -> list[tf.Variable]:
        """The trainable variables of encoder and projector, in the order of the target network's."""
        return [*self.encoder.trainable_variables, *self.projector.trainable_variables]

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, C]` in 0..1 to unit-norm predictions `[B, D]`."""
        projections = self.projector(self.features(images, training=training), training=training)
        return unit_norm(self.predictor(projections, training=training))


def unit_norm(embeddings: tf.Tensor) -> tf.Tensor:
    """Scales `[..., D]` to unit norm, in float32 or wider."""
    return tf.math.l2_normalize(at_least_float32(embeddings), axis=-1, epsilon=1e-12)
