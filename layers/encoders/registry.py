"""The encoders, by name."""

import difflib
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from semppl.layers.encoders.convnet import ConvNet
from semppl.layers.encoders.resnet import BLOCKS_PER_GROUP, SMALLEST_BOTTLENECK_DEPTH, ResNet, scaled_channels

KERAS_DEPTHS = (50, 101, 152)
_CONVNET_WIDTHS = (32, 64, 128)


def _convnet(width: float, **options: Any) -> ConvNet:
    return ConvNet(widths=tuple(scaled_channels(channels, width) for channels in _CONVNET_WIDTHS), **options)


def _resnets() -> dict[str, Callable[..., tf.keras.layers.Layer]]:
    """Names every ResNet: `[sk_]resnet<depth>[_v2][_cifar]`, and `…_simclr`, `…_keras` for imported weights."""
    encoders: dict[str, Callable[..., tf.keras.layers.Layer]] = {}
    for depth in BLOCKS_PER_GROUP:
        for stem, suffix in (("imagenet", ""), ("cifar", "_cifar")):
            make = functools.partial(ResNet, depth, stem=stem)
            encoders[f"resnet{depth}{suffix}"] = make
            encoders[f"resnet{depth}_v2{suffix}"] = functools.partial(make, version=2)
            encoders[f"resnet{depth}{suffix}_simclr"] = functools.partial(make, layout="simclr")
            if depth >= SMALLEST_BOTTLENECK_DEPTH:
                encoders[f"sk_resnet{depth}{suffix}"] = functools.partial(make, selective=True)
                encoders[f"sk_resnet{depth}{suffix}_simclr"] = functools.partial(make, selective=True, layout="simclr")
        if depth in KERAS_DEPTHS:
            encoders[f"resnet{depth}_keras"] = functools.partial(ResNet, depth, layout="keras")
    return encoders


ENCODERS: dict[str, Callable[..., tf.keras.layers.Layer]] = {
    "convnet": _convnet,
    "convnet_stride2": functools.partial(_convnet, stem_stride=2),
    **_resnets(),
}


def check_encoder(name: str, *, called: str = "`name`") -> None:
    """Checks that an encoder exists.

    Args:
        name: Name of the encoder.
        called: Name of the flag or argument in the error message.

    Raises:
        ValueError: If `name` is not a key of `ENCODERS`; the message lists the families and similar
            names.
    """
    if name not in ENCODERS:
        families = f"convnet, resnet50 or another of its family (docs/reference/encoders.md lists all {len(ENCODERS)})"
        similar = difflib.get_close_matches(name, ENCODERS)
        suggestion = f"; did you mean {' or '.join(similar)}?" if similar else ""
        raise ValueError(f"{called} must be {families}. Received: {name}{suggestion}")


def check_checkpointing(name: str) -> None:
    """Requires an encoder with residual blocks, whose activations gradient checkpointing can recompute.

    Args:
        name: Key of `ENCODERS`.

    Raises:
        ValueError: If the encoder has no residual blocks.
    """
    if getattr(ENCODERS[name], "func", None) is not ResNet:
        raise ValueError(f"--gradient_checkpointing must be false with an encoder that is no ResNet. Received: {name}")


def build_encoder(
    name: str, *, width: float = 1, norm: str = "batch", layer_name: str = "encoder"
) -> tf.keras.layers.Layer:
    """Makes an encoder that maps images `[B, H, W, channels]` to features `[B, D]` in float32 or wider.

    Args:
        name: Key of `ENCODERS`.
        width: Multiplier of all numbers of channels, which are rounded to multiples of 8. Default
            1.
        norm: "batch" (the default), or "group" for group norm with standardised weights.
        layer_name: Name of the layer, the first part of its variables' names.

    Raises:
        ValueError: If `name` or `norm` is unknown, or `width` is not positive.
    """
    check_encoder(name)
    if width <= 0:
        raise ValueError(f"`width` must be positive. Received: width={width}")
    return ENCODERS[name](width=width, norm=norm, name=layer_name)
