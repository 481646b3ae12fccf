"""The encoders by name."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from semppl.layers.convnet import ConvNet


def _convnet(width: float, **options: Any) -> ConvNet:
    return ConvNet(widths=tuple(max(1, round(width * channels)) for channels in (32, 64, 128)), **options)


ENCODERS: dict[str, Callable[..., tf.keras.layers.Layer]] = {
    "convnet": _convnet,
    "convnet_stride2": functools.partial(_convnet, stem_stride=2),
}


def build_encoder(
    name: str, *, width: float = 1, norm: str = "batch", layer_name: str = "encoder"
) -> tf.keras.layers.Layer:
    """Makes an encoder that maps images `[B, H, W, channels]` to features `[B, D]`.

    Args:
        name: a key of `ENCODERS`.
        width: multiplies every number of channels; positive.
        norm: "batch", or "group" for group norm with standardised weights.
        layer_name: first part of the name of every variable.

    Raises:
        ValueError: for an unknown name or norm, or a width that is not positive.
    """
    if name not in ENCODERS:
        raise ValueError(f"`name` must be one of {sorted(ENCODERS)}. Received: name={name!r}")
    if width <= 0:
        raise ValueError(f"`width` must be positive. Received: width={width}")
    return ENCODERS[name](width=width, norm=norm, name=layer_name)
