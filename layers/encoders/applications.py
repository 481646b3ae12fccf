"""The networks of Keras Applications as encoders, without their final layer."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from semppl.layers.blocks.precision import at_least_float32
from semppl.layers.encoders.conversion import converted, standardisation_of
from semppl.layers.encoders.layer_graph import GraphEncoder

CHANNELS = 3
_SMALLEST = {"inception_resnet_v2": 75, "inception_v3": 75, "xception": 71}
_SMALLEST_OTHERWISE = 32
_TRACED_SIZE = 256  # a power of two: padding is that of networks for pictures of any size
LICENCES = {
    "densenet": "BSD-3-Clause",
    "inception_resnet_v2": "Apache-2.0",
    "inception_v3": "Apache-2.0",
    "mobilenet": "Apache-2.0",
    "mobilenet_v2": "Apache-2.0",
    "nasnet": "Apache-2.0",
    "resnet": "MIT",
    "vgg16": "Creative Commons Attribution",
    "vgg19": "Creative Commons Attribution",
    "xception": "MIT",
}
"""Licences of the ImageNet weights by family, where Keras' documentation states one."""

APPLICATIONS: dict[str, Callable[..., tf.keras.Model]] = {
    name: make for name, make in vars(tf.keras.applications).items() if callable(make) and name[0].isupper()
}
"""The constructors of all networks, by name."""


def family(name: str) -> str:
    """Returns the module of Keras Applications that defines a network, such as "mobilenet_v2"."""
    return APPLICATIONS[name].__module__.rpartition(".")[2]


def smallest_size(name: str) -> int:
    """Returns the smallest side of a picture, in pixels, that Keras allows for a network."""
    return _SMALLEST.get(family(name), _SMALLEST_OTHERWISE)


@tf.keras.saving.register_keras_serializable(package="semppl")
class KerasApplication(GraphEncoder, tf.keras.layers.Layer):
    """A network of Keras Applications up to its mean-pooled features, with its own preparation of pixels.

    The computation of inference is that of Keras' network after `preprocess_input`. In training
    mode, batch norm takes the statistics of all replicas, and its moving averages have a decay of
    0.9 rather than Keras' 0.99 or 0.999, with which they would hardly move in a few hundred steps.
    Dropout and stochastic depth are left out: their random numbers depend on hidden state, which a
    resumed run would lose.

    Args:
        network: Key of `APPLICATIONS`.

    Raises:
        ValueError: If `network` is unknown.
    """

    def __init__(self, network: str, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # pixels are prepared in float32
        if network not in APPLICATIONS:
            raise ValueError(f"`network` must be one of {', '.join(APPLICATIONS)}. Received: network={network!r}")
        self.network = network
        shape = (_TRACED_SIZE, _TRACED_SIZE, CHANNELS)
        model = APPLICATIONS[network](include_top=False, weights=None, pooling="avg", input_shape=shape)
        self.copy_layers(model, _CONVERSIONS.get(family(network), converted))
        self._preprocess = getattr(tf.keras.applications, family(network)).preprocess_input

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, 3]` in 0..1 to features `[B, D]` in float32 or wider."""
        del training  # Keras passes it on
        return at_least_float32(self._graph.run(self._preprocess(images * 255.0)))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"network": self.network}


class _SamePadding(tf.keras.layers.ZeroPadding2D):
    """Pads a map with zeros; at the top and at the left, with one row or column less if the side is even.

    Keras' NASNet chooses the padding when it is constructed, for pictures of one size.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        (_, low), (_, right) = self.padding
        height, width = (inputs.shape[axis] or tf.shape(inputs)[axis] for axis in (1, 2))
        return tf.pad(inputs, [[0, 0], [low - 1 + height % 2, low], [right - 1 + width % 2, right], [0, 0]])


def _converted_for_any_size(layer: tf.keras.layers.Layer, name: str) -> tf.keras.layers.Layer:
    if isinstance(layer, tf.keras.layers.ZeroPadding2D) and "_pad_" in layer.name:
        return _SamePadding(layer.padding, name=name)
    return converted(layer, name)


def _converted_with_second_scaling(layer: tf.keras.layers.Layer, name: str) -> tf.keras.layers.Layer:
    """Adds to EfficientNet's standardisation the scaling that Keras adds for ImageNet's weights alone."""
    if isinstance(layer, tf.keras.layers.Normalization):
        factor = [stddev**-0.5 for stddev in _STDDEV_RED_GREEN_BLUE]
        return standardisation_of(layer, name, factor)
    return converted(layer, name)


_STDDEV_RED_GREEN_BLUE = (0.229, 0.224, 0.225)
_CONVERSIONS = {"nasnet": _converted_for_any_size, "efficientnet": _converted_with_second_scaling}
