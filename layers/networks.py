"""The online network, which predicts the projections of the target network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.layers.blocks.precision import at_least_float32
from semppl.layers.encoders.freezing import freeze
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
class FeatureScaling(tf.keras.layers.Layer):
    """Standardises features by the statistics of the training images' features; the identity until `fit`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # else mean and features would be rounded before they are subtracted

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates mean and standard deviation, `[F]`, which no gradient changes."""
        width = (input_shape[-1],)
        options = {
            "trainable": False,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
            "experimental_autocast": False,
        }
        self.mean = self.add_weight("mean", width, initializer="zeros", **options)
        self.stddev = self.add_weight("stddev", width, initializer="ones", **options)
        super().build(input_shape)

    def fit(self, mean: np.ndarray, stddev: np.ndarray) -> None:
        """Takes over the mean and the standard deviation of every feature, `[F]`; a constant feature is only centred."""
        self.mean.assign(mean)
        self.stddev.assign(np.where(stddev > _CONSTANT, stddev, 1.0))

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Maps features `[B, F]` to standardised features of that shape, in float32 or wider."""
        features = at_least_float32(features)
        mean, stddev = (tf.cast(part, features.dtype) for part in (self.mean, self.stddev))
        return (features - mean) / stddev


FEATURES_LENGTH = 2.0
"""Length of the features in a joint embedding, where the projections have length 1."""

_CONSTANT = 1e-6
"""Standard deviation up to which a feature counts as constant."""


@tf.keras.saving.register_keras_serializable(package="semppl")
class TargetNetwork(tf.keras.Model):
    """Encoder and projector: f and g.

    A frozen encoder is in inference mode. `features`, `project` and calls take images
    `[B, H, W, C]`, or the encoder's features `[B, F]` of such images, computed before.

    Args:
        encoder: Name of the encoder, see `check_encoder`.
        width: Multiplier of the encoder's channels.
        norm: Normalisation, a key of `NORMALISATIONS`.
        head_width: Width of the projector's hidden layer.
        embedding_width: Width D of the projections.
        pixel_mean: Mean of each channel of the images, in 0..1. Not used by an encoder that prepares
            pixels by itself, as pretrained networks do.
        pixel_stddev: Standard deviation of each channel; positive. Not used by such an encoder.
        widths: Number of channels of each stage of the encoder, before the multiplier; empty, the default, for the encoder's own.
        picture_size: Side of the pictures, in pixels, for an encoder that takes one size only. Default 224.
        frozen_norms: Whether the encoder's batch norms always use their moving averages, and are not
            trained. Default False.
        frozen_stages: Number of the encoder's first stages that are not trained. Default 0.
        train: "all", "heads" for a frozen encoder whose features are standardised, or "nothing" for a frozen encoder. Default
            "all".
        shared_encoder: Encoder of another network to use, with the same arguments; by default the network has its own.
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
        widths: Sequence[int] = (),
        picture_size: int = 224,
        frozen_norms: bool = False,
        frozen_stages: int = 0,
        train: str = "all",
        shared_encoder: tf.keras.layers.Layer | None = None,
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
            "widths": tuple(widths),
            "picture_size": picture_size,
            "frozen_norms": frozen_norms,
            "frozen_stages": frozen_stages,
            "train": train,
        }
        self.encoder = shared_encoder or build_encoder(
            encoder, width=width, widths=widths, norm=norm, size=picture_size
        )
        self.encoder.trainable = train == "all"
        freeze(self.encoder, norms=frozen_norms, stages=frozen_stages)
        if getattr(self.encoder, "prepares_pixels", False):
            channels = len(pixel_mean)
            pixel_mean, pixel_stddev = (0.0,) * channels, (1.0,) * channels
        self.pixels = PixelNormalisation(pixel_mean, pixel_stddev, name="pixels")
        self.scaling = FeatureScaling(name="scaling") if train == "heads" else None
        self.projector = MLP(head_width, embedding_width, norm, name="projector")

    def features(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, C]` in 0..1 to the encoder's features `[B, F]`, standardised where heads are trained alone."""
        features = images if len(images.shape) == 2 else self.encode(images, training=training)
        return features if self.scaling is None else self.scaling(features)

    def encode(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, C]` in 0..1 to the encoder's own features `[B, F]`."""
        return self.encoder(self.pixels(images), training=training and self.scaling is None)

    def project(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, C]` in 0..1 to unit-norm projections `[B, D]`."""
        return self.project_features(self.features(images, training=training), training=training)

    def project_features(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps features `[B, F]`, as `features` returns them, to unit-norm projections `[B, D]`."""
        return unit_norm(self.projector(features, training=training))

    def join_features(self, features: tf.Tensor) -> tf.Tensor:
        """Maps features `[B, F]` to unit-norm joint embeddings `[B, F + D]`: the features, then the projections.

        The features are scaled to twice the length of the projections, chosen on CIFAR-10 with 4 labels per class.
        """
        joined = tf.concat([FEATURES_LENGTH * unit_norm(features), self.project_features(features)], axis=-1)
        return unit_norm(joined)

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
