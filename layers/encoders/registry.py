"""The encoders, by name."""

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from semppl.layers.encoders import applications, attention_models
from semppl.layers.encoders.convnet import ConvNet
from semppl.layers.encoders.resnet import BLOCKS_PER_GROUP, SMALLEST_BOTTLENECK_DEPTH, ResNet, scaled_channels
from semppl.layers.encoders.resnet9 import ResNet9

KERAS_DEPTHS = (50, 101, 152)
_CONVNET_WIDTHS = (32, 64, 128)
_RESNET9_WIDTHS = (64, 128, 128)


def _convnet(width: float, widths: Sequence[int] = (), **options: Any) -> ConvNet:
    return ConvNet(widths=tuple(scaled_channels(channels, width) for channels in widths or _CONVNET_WIDTHS), **options)


def resnet9(width: float, widths: Sequence[int] = (), kind: type[ResNet9] = ResNet9, **options: Any) -> ResNet9:
    """Makes a ResNet-9, or another `kind` of it, with widths times a factor; see `build_encoder`."""
    return kind(widths=tuple(scaled_channels(channels, width) for channels in widths or _RESNET9_WIDTHS), **options)


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
    "resnet9": resnet9,
    **_resnets(),
}


WITH_WIDTHS: tuple[str, ...] = ("convnet", "convnet_stride2", "resnet9")
"""Names of the encoders that take `widths`."""

APPLICATION = "keras:"
"""What the names of the networks of Keras Applications begin with."""

ATTENTION_MODEL = "kecam:"
"""What the names of the networks of keras-cv-attention-models begin with."""


def application_of(name: str) -> str | None:
    """Returns the network of Keras Applications that an encoder is; None for any other encoder."""
    return name.removeprefix(APPLICATION) if name.startswith(APPLICATION) else None


def attention_model_of(name: str) -> str | None:
    """Returns the network of keras-cv-attention-models that an encoder is; None for any other encoder."""
    return name.removeprefix(ATTENTION_MODEL) if name.startswith(ATTENTION_MODEL) else None


def is_foreign(name: str) -> bool:
    """Returns whether an encoder is a third-party network, which may start from published weights."""
    return name.startswith((APPLICATION, ATTENTION_MODEL))


def check_encoder(name: str, *, called: str = "`name`") -> None:
    """Checks that an encoder exists.

    Args:
        name: Name of the encoder: a key of `ENCODERS`, "keras:" and a key of `APPLICATIONS`, or
            "kecam:" and the name of a network of keras-cv-attention-models.
        called: Name of the flag or argument in the error message.

    Raises:
        ValueError: If there is no such encoder, and the message lists the families and similar names;
            or if its package is not installed.
    """
    foreign = {APPLICATION: applications.APPLICATIONS}
    if attention_model_of(name) is not None:
        if not attention_models.is_installed():
            extra = "the extra \"encoders\": pip install 'semppl[encoders]'"
            raise ValueError(f"{called} must be another encoder without {extra}. Received: {name}")
        foreign = {ATTENTION_MODEL: attention_models.constructors()}
    names = [*ENCODERS, *(prefix + network for prefix, networks in foreign.items() for network in networks)]
    if name in names:
        return
    families = (
        f"convnet, resnet50 or another of its family, {APPLICATION}MobileNetV2 or another network of Keras Applications, or "
        f"{ATTENTION_MODEL}… (docs/reference/encoders.md lists all {len(names)})"
    )
    by_lower = {network.lower(): prefix + network for prefix, networks in foreign.items() for network in networks}
    by_lower |= {candidate.lower(): candidate for candidate in names}
    similar = list(dict.fromkeys(by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower)))
    suggestion = f"; did you mean {' or '.join(similar)}?" if similar else ""
    raise ValueError(f"{called} must be {families}. Received: {name}{suggestion}")


def check_pictures(
    name: str,
    *,
    width: float,
    pixel_mean: tuple[float, ...],
    sizes: Mapping[str, int],
    widths: Sequence[int] = (),
) -> None:
    """Checks that an encoder can take the pictures of a run.

    Args:
        name: Name of the encoder.
        width: Multiplier of the numbers of channels.
        widths: Number of channels of each stage; empty, the default, for the encoder's own.
        pixel_mean: Mean of each channel.
        sizes: Sides of the views in pixels, by the name of the flag.

    Raises:
        ValueError: If a setting does not fit; the message names the flag.
    """
    if len(widths) and name not in WITH_WIDTHS:
        raise ValueError(f"--widths must be empty with --encoder={name}, whose stages are fixed. Received: {widths}")
    if is_foreign(name) and width != 1:
        raise ValueError(f"--width must be 1 with --encoder={name}, whose channels are fixed. Received: {width}")
    if is_foreign(name) and len(pixel_mean) != applications.CHANNELS:
        allowed = f"{applications.CHANNELS} values with --encoder={name}, which takes pictures in colour"
        raise ValueError(f"--pixel_mean must have {allowed}. Received: {pixel_mean}")
    smallest, first = _smallest_size(name, widths), next(iter(sizes.values()))
    for flag, size in sizes.items():
        if size < smallest:
            raise ValueError(f"--{flag} must be {smallest} or more with --encoder={name}. Received: {size}")
        if attention_model_of(name) is not None and size != first:
            raise ValueError(f"--{flag} must be {first}, as all views, with --encoder={name}. Received: {size}")


def _smallest_size(name: str, widths: Sequence[int]) -> int:
    """Returns the smallest side of a picture, in pixels, that an encoder takes."""
    if name.startswith("resnet9"):
        return resnet9(1, widths).smallest_size
    if (network := application_of(name)) is not None:
        return applications.smallest_size(network)
    return attention_models.SMALLEST_SIZE if attention_model_of(name) is not None else 1


def check_checkpointing(name: str) -> None:
    """Requires an encoder with residual blocks, whose activations gradient checkpointing can recompute.

    Args:
        name: Name of the encoder, see `check_encoder`.

    Raises:
        ValueError: If the encoder is no ResNet of this project.
    """
    if getattr(ENCODERS.get(name), "func", None) is not ResNet:
        raise ValueError(
            f"--gradient_checkpointing must be false with an encoder that is no ResNet of this project. Received: {name}"
        )


def build_encoder(
    name: str,
    *,
    width: float = 1,
    widths: Sequence[int] = (),
    norm: str = "batch",
    size: int = 224,
    layer_name: str = "encoder",
) -> tf.keras.layers.Layer:
    """Makes an encoder that maps images `[B, H, W, channels]` to features `[B, D]` in float32 or wider.

    An encoder with a true attribute `prepares_pixels` takes images in 0..1 as they are, any other
    takes images that are centred and scaled.

    Args:
        name: Name of the encoder, see `check_encoder`.
        width: Multiplier of all numbers of channels, which are rounded to multiples of 8. Default
            1, the only value for third-party networks.
        widths: Numbers of channels of the stages, before the multiplier, for the encoders of `WITH_WIDTHS`. Default: the
            encoder's own.
        norm: "batch" (the default), or "group" for group norm with standardised weights; third-party
            networks have their own normalisation.
        size: Side of the pictures, in pixels, for networks of keras-cv-attention-models; all other
            encoders take pictures of any size. Default 224.
        layer_name: Name of the layer, the first part of its variables' names.

    Raises:
        ValueError: If `name` or `norm` is unknown, or `width` or `widths` are not allowed.
    """
    check_encoder(name)
    if width <= 0:
        raise ValueError(f"`width` must be positive. Received: width={width}")
    if len(widths) and name not in WITH_WIDTHS:
        raise ValueError(f"`widths` must be empty for {name}. Received: widths={widths}")
    if is_foreign(name) and width != 1:
        raise ValueError(f"`width` must be 1 for {name}. Received: width={width}")
    if (network := application_of(name)) is not None:
        return applications.KerasApplication(network, name=layer_name)
    if (network := attention_model_of(name)) is not None:
        return attention_models.build(network, size, name=layer_name)
    options = {"widths": widths} if len(widths) else {}
    return ENCODERS[name](width=width, norm=norm, name=layer_name, **options)
