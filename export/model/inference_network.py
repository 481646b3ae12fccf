"""Copies of a trained network for inference: batch norms folded, weights in fewer bits."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.blocks.normalisation import BatchNorm
from semppl.layers.networks import OnlineNetwork

_LARGEST = 127  # of int8, on both sides of zero


def fold_batch_norms(network: OnlineNetwork, hyperparameters: Hyperparameters) -> OnlineNetwork:
    """Copies a network, and folds every batch norm that follows a linear layer into that layer; the offset remains.

    Args:
        network: Built network; stays as it is.
        hyperparameters: Hyper-parameters of its run.

    Returns:
        The copy, which cannot be trained.

    Raises:
        ValueError: if a batch norm of the network is folded already.
    """
    copy = _copy(network, hyperparameters, "float32")
    for layer in copy._flatten_layers():
        for linear, norm in getattr(layer, "normalised", ()):
            if isinstance(norm, BatchNorm):
                norm.fold_into(linear)
    return copy


def in_half(network: OnlineNetwork, hyperparameters: Hyperparameters, dtype: str) -> OnlineNetwork:
    """Copies a network into 16 bits: kernels, biases and arithmetic; offsets of norms and unit norms stay in float32.

    Args:
        network: Built network, with or without folded batch norms; stays as it is.
        hyperparameters: Hyper-parameters of its run.
        dtype: "bfloat16" or "float16".

    Returns:
        The copy, which cannot be trained.
    """
    copy = _copy(network, hyperparameters, dtype)
    copy.trainable = False
    return copy


def _copy(network: OnlineNetwork, hyperparameters: Hyperparameters, dtype: str) -> OnlineNetwork:
    """Copies a network under another mixed-precision policy."""
    former = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(dtype)
    try:
        copy = OnlineNetwork(**hyperparameters.network, name=network.name)
    finally:
        tf.keras.mixed_precision.set_global_policy(former)
    copy.build([None, hyperparameters.large_size, hyperparameters.large_size, hyperparameters.channels])
    for old, new in zip(network.weights, copy.weights, strict=True):
        new.assign(tf.cast(old, new.dtype))
    for old, new in zip(network._flatten_layers(), copy._flatten_layers(), strict=True):
        if isinstance(old, BatchNorm):
            new.folded = old.folded
    return copy


class Int8Kernels:
    """Stores the kernels of a network as int8 with a scale per output channel; the arithmetic stays in float32.

    Args:
        network: Built network, whose own kernels are no longer needed.

    Attributes:
        weights: Weights of the network, with int8 kernels and their scales in place of its kernels.
    """

    def __init__(self, network: OnlineNetwork) -> None:
        kinds = (tf.keras.layers.Conv2D, tf.keras.layers.Dense)
        self._layers = [layer for layer in network._flatten_layers() if isinstance(layer, kinds)]
        self._kernels = [_quantised(layer.kernel) for layer in self._layers]
        replaced = {id(layer.kernel) for layer in self._layers}
        others = [weight for weight in network.weights if id(weight) not in replaced]
        self.weights = [*others, *(part for kernel in self._kernels for part in kernel)]

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Makes the layers compute with the stored kernels while the context is open."""
        trained = [layer.kernel for layer in self._layers]
        for layer, (values, scale) in zip(self._layers, self._kernels, strict=True):
            object.__setattr__(
                layer, "kernel", tf.cast(values, scale.dtype) * scale
            )  # Keras' own setter would register a weight
        try:
            yield
        finally:
            for layer, kernel in zip(self._layers, trained, strict=True):
                object.__setattr__(layer, "kernel", kernel)


def _quantised(kernel: tf.Variable) -> tuple[tf.Variable, tf.Variable]:
    """Rounds a kernel `[..., C]` to int8 times a scale `[C]`, which preserves the largest weight of each channel."""
    largest = tf.reduce_max(tf.abs(kernel), axis=list(range(len(kernel.shape) - 1)))
    scale = tf.maximum(largest, 1e-30) / _LARGEST
    values = tf.cast(tf.round(kernel / scale), tf.int8)
    return tf.Variable(values, trainable=False), tf.Variable(scale, trainable=False)
