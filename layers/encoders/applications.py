"""The networks of Keras Applications as encoders, without their final layer."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from semppl.layers.blocks.normalisation import FusedBatchNorm
from semppl.layers.blocks.precision import at_least_float32
from semppl.layers.encoders.layer_graph import LayerGraph, Place, copied

CHANNELS = 3
_SMALLEST = {"inception_resnet_v2": 75, "inception_v3": 75, "xception": 71}
_SMALLEST_OTHERWISE = 32
_TRACED_SIZE = 256  # a power of two: padding is that of networks for pictures of any size
_SMALLEST_EPSILON = 1.001e-5  # of Keras' batch norm
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

_IN_FLOAT32 = (tf.keras.layers.GlobalAveragePooling2D, tf.keras.layers.Rescaling, tf.keras.layers.Normalization)
_RANDOM = (
    tf.keras.layers.Dropout,
    tf.keras.layers.GaussianDropout,
    tf.keras.layers.GaussianNoise,
    tf.keras.layers.AlphaDropout,
)

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
class KerasApplication(tf.keras.layers.Layer):
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

    prepares_pixels = True

    def __init__(self, network: str, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # pixels are prepared in float32
        if network not in APPLICATIONS:
            raise ValueError(f"`network` must be one of {', '.join(APPLICATIONS)}. Received: network={network!r}")
        self.network = network
        shape = (_TRACED_SIZE, _TRACED_SIZE, CHANNELS)
        model = APPLICATIONS[network](include_top=False, weights=None, pooling="avg", input_shape=shape)
        self._graph = LayerGraph(model, converted if family(network) != "nasnet" else _converted_for_any_size)
        self.graph_layers = self._graph.layers  # Keras tracks attributes
        self._preprocess = getattr(tf.keras.applications, family(network)).preprocess_input

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, 3]` in 0..1 to features `[B, D]` in float32 or wider."""
        del training  # Keras passes it on
        return at_least_float32(self._graph.run(self._preprocess(images * 255.0)))

    @property
    def stages(self) -> list[list[tf.keras.layers.Layer]]:
        """Layers by the resolution of their outputs, see `LayerGraph`."""
        return self._graph.stages

    @property
    def places(self) -> list[Place]:
        """Where the variables are in files of weights, see `LayerGraph`."""
        return self._graph.places

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"network": self.network}


class _Standardisation(tf.keras.layers.Layer):
    """Keras' `Normalization` with its statistics read from the variables.

    Keras' layer copies them into a constant when it is built; restoring a checkpoint later does not
    change the constant.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        options = {"trainable": False, "experimental_autocast": False}
        self.mean = self.add_weight("mean", (input_shape[-1],), initializer="zeros", **options)
        self.variance = self.add_weight("variance", (input_shape[-1],), initializer="ones", **options)
        self.count = self.add_weight("count", (), dtype=tf.int64, initializer="zeros", **options)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        deviation = tf.maximum(tf.sqrt(tf.convert_to_tensor(self.variance)), tf.keras.backend.epsilon())
        return (inputs - self.mean) / deviation


class _SamePadding(tf.keras.layers.ZeroPadding2D):
    """Pads a map with zeros; at the top and at the left, with one row or column less if the side is even.

    Keras' NASNet chooses the padding when it is constructed, for pictures of one size.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        (_, low), (_, right) = self.padding
        height, width = (inputs.shape[axis] or tf.shape(inputs)[axis] for axis in (1, 2))
        return tf.pad(inputs, [[0, 0], [low - 1 + height % 2, low], [right - 1 + width % 2, right], [0, 0]])


class _Depthwise(tf.keras.layers.Conv2D):
    """A convolution of every channel by itself.

    Keras' layer of so many groups takes XLA on a CPU, in exported models too.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        by_channel = tf.transpose(tf.convert_to_tensor(kernel), [0, 1, 3, 2])  # [h,w,C,1]
        return tf.nn.depthwise_conv2d(inputs, by_channel, [1, *self.strides, 1], self.padding.upper())


def converted(layer: tf.keras.layers.Layer, name: str) -> tf.keras.layers.Layer:
    """Copies a layer of a Keras network; replaces batch norm, and layers with hidden random numbers or constants.

    Args:
        layer: Layer of the network.
        name: Name of the copy.
    """
    if isinstance(layer, tf.keras.layers.BatchNormalization):
        return FusedBatchNorm(
            epsilon=max(layer.epsilon, _SMALLEST_EPSILON),
            center=layer.center,
            scale=layer.scale,
            gamma_initializer=layer.get_config()["gamma_initializer"],
            name=name,
        )
    if isinstance(layer, _RANDOM) or type(layer).__name__ == "StochasticDepth":
        return tf.keras.layers.Activation("linear", name=name)
    if isinstance(layer, tf.keras.layers.Normalization) and layer.input_mean is None:
        return _Standardisation(name=name, dtype=_at_least_float32(layer))
    if type(layer) is tf.keras.layers.Conv2D and _is_depthwise(layer):
        return _Depthwise.from_config(layer.get_config() | {"name": name})
    if isinstance(layer, _IN_FLOAT32):
        return copied(layer, name, converted, dtype=_at_least_float32(layer))
    return copied(layer, name, converted)


def _converted_for_any_size(layer: tf.keras.layers.Layer, name: str) -> tf.keras.layers.Layer:
    if isinstance(layer, tf.keras.layers.ZeroPadding2D) and "_pad_" in layer.name:
        return _SamePadding(layer.padding, name=name)
    return converted(layer, name)


def _is_depthwise(layer: tf.keras.layers.Conv2D) -> bool:
    same = layer.groups == layer.filters and layer.kernel.shape[2] == 1
    return same and layer.groups > 1 and layer.strides[0] == layer.strides[1] and layer.dilation_rate == (1, 1)


def _at_least_float32(layer: tf.keras.layers.Layer) -> str:
    return "float64" if layer.compute_dtype == "float64" else "float32"
