"""The networks of keras-cv-attention-models as encoders, without their final layer."""

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from semppl.layers.blocks.precision import at_least_float32
from semppl.layers.encoders.conversion import converted
from semppl.layers.encoders.layer_graph import GraphEncoder
from semppl.layers.encoders.pooling import spatial_mean

CHANNELS = 3
SMALLEST_SIZE = 32
_PACKAGE = "keras_cv_attention_models"


def is_installed() -> bool:
    """Returns whether the package of the extra `encoders` is installed."""
    return importlib.util.find_spec(_PACKAGE) is not None


@functools.cache
def constructors() -> dict[str, Callable[..., tf.keras.Model]]:
    """Returns the constructors of all networks, by name; the first call imports the package, which takes seconds."""
    models = vars(importlib.import_module(f"{_PACKAGE}.models"))
    return {name: make for name, make in models.items() if callable(make) and name[0].isupper()}


def pretrained_model(network: str, size: int) -> tf.keras.Model:
    """Builds a network with the package's own weights, which the package downloads.

    Position embeddings are resized to the size of the pictures. If the download fails, the package
    continues with random weights.

    Args:
        network: Key of `constructors()`.
        size: Side of the pictures, in pixels.
    """
    make = constructors()[network]
    return make(
        input_shape=(size, size, CHANNELS),
        num_classes=0,
        pretrained=inspect.signature(make).parameters["pretrained"].default,
    )


def downloads() -> Any:
    """Returns the module whose `get_file` downloads weights."""
    return importlib.import_module(f"{_PACKAGE}.backend")


@tf.keras.saving.register_keras_serializable(package="semppl")
class _AttentionModel(GraphEncoder, tf.keras.layers.Layer):
    """A network of keras-cv-attention-models up to its mean-pooled features, with its own preparation of pixels.

    Batch norm, dropout and stochastic depth are replaced as in `KerasApplication`.

    Args:
        network: Key of `constructors()`.
        size: Side of the pictures, in pixels, to which position embeddings are fitted.

    Raises:
        ValueError: If the network does not map pictures to features.
    """

    def __init__(self, network: str, size: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # pixels are prepared in float32
        self.network = network
        self.size = size
        model = constructors()[network](input_shape=(size, size, CHANNELS), num_classes=0, pretrained=None)
        if len(model.inputs) != 1 or len(model.outputs) != 1 or model.outputs[0].shape.rank not in (2, 3, 4):
            raise ValueError(f"`network` must map pictures to features. Received: network={network}")
        self._mean, self._stddev = model.preprocess_input.mean, model.preprocess_input.std  # of pixels in 0..255
        self.copy_layers(model, converted)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, size, size, 3]` in 0..1 to features `[B, D]` in float32 or wider."""
        del training  # Keras passes it on
        features = self._graph.run((images * 255.0 - self._mean) / self._stddev)
        if features.shape.rank == 3:
            return tf.reduce_mean(at_least_float32(features), 1)
        return spatial_mean(features) if features.shape.rank == 4 else at_least_float32(features)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"network": self.network, "size": self.size}


def build(network: str, size: int, *, name: str) -> tf.keras.layers.Layer:
    """Makes an encoder.

    Args:
        network: Key of `constructors()`.
        size: Side of the pictures, in pixels.
        name: Name of the layer.
    """
    return _AttentionModel(network, size, name=name)
