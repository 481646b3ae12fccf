"""Copies of third-party layers without hidden random state, and with batch norm over all replicas."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from semppl.layers.blocks.normalisation import FusedBatchNorm
from semppl.layers.encoders.layer_graph import copied

_SMALLEST_EPSILON = 1.001e-5  # of Keras' batch norm
_IN_FLOAT32 = (tf.keras.layers.GlobalAveragePooling2D, tf.keras.layers.Rescaling, tf.keras.layers.Normalization)
_RANDOM = (
    tf.keras.layers.Dropout,
    tf.keras.layers.GaussianDropout,
    tf.keras.layers.GaussianNoise,
    tf.keras.layers.AlphaDropout,
)


class _Standardisation(tf.keras.layers.Layer):
    """Keras' `Normalization` with its statistics read from the variables.

    Keras' layer copies them into a constant when it is built; restoring a checkpoint later does not
    change the constant.

    Args:
        factor: Factor of each channel, applied after the standardisation. Default 1.
    """

    def __init__(self, factor: Sequence[float] = (1.0,), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = tuple(factor)

    def build(self, input_shape: tf.TensorShape) -> None:
        options = {"trainable": False, "experimental_autocast": False}
        self.mean = self.add_weight("mean", (input_shape[-1],), initializer="zeros", **options)
        self.variance = self.add_weight("variance", (input_shape[-1],), initializer="ones", **options)
        self.count = self.add_weight("count", (), dtype=tf.int64, initializer="zeros", **options)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        deviation = tf.maximum(tf.sqrt(tf.convert_to_tensor(self.variance)), tf.keras.backend.epsilon())
        return (inputs - self.mean) / deviation * tf.constant(self.factor, inputs.dtype)


class _Depthwise(tf.keras.layers.Conv2D):
    """A convolution of every channel by itself; Keras' own call takes XLA for groups, in exported models too."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        by_channel = tf.transpose(tf.convert_to_tensor(self.kernel), [0, 1, 3, 2])  # [h,w,C,1]
        outputs = tf.nn.depthwise_conv2d(inputs, by_channel, [1, *self.strides, 1], self.padding.upper())
        return self.activation(tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs)


def converted(layer: tf.keras.layers.Layer, name: str) -> tf.keras.layers.Layer:
    """Copies a layer of a network; replaces batch norm, and layers with hidden random numbers or constants.

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
        return standardisation_of(layer, name)
    if type(layer) is tf.keras.layers.Conv2D and _is_depthwise(layer):
        return _Depthwise.from_config(layer.get_config() | {"name": name})
    if isinstance(layer, _IN_FLOAT32):
        return copied(layer, name, converted, dtype=_at_least_float32(layer))
    return copied(layer, name, converted)


def standardisation_of(
    layer: tf.keras.layers.Normalization, name: str, factor: Sequence[float] = (1.0,)
) -> tf.keras.layers.Layer:
    """Copies a layer that standardises by its variables.

    Args:
        layer: Layer of the network.
        name: Name of the copy.
        factor: Factor of each channel, applied after the standardisation. Default 1.
    """
    return _Standardisation(factor, name=name, dtype=_at_least_float32(layer))


def _is_depthwise(layer: tf.keras.layers.Conv2D) -> bool:
    same = layer.groups == layer.filters and layer.kernel.shape[2] == 1
    return same and layer.groups > 1 and layer.strides[0] == layer.strides[1] and layer.dilation_rate == (1, 1)


def _at_least_float32(layer: tf.keras.layers.Layer) -> str:
    return "float64" if layer.compute_dtype == "float64" else "float32"
