"""Reader of Keras Applications' ResNet weights, as an equivalent network of this project."""

import pathlib
import re

import numpy as np
import tensorflow as tf

from semppl.export.foreign.checkpoint import ForeignCheckpoint
from semppl.layers.encoders.registry import KERAS_DEPTHS
from semppl.layers.encoders.resnet import BLOCKS_PER_GROUP
from semppl.layers.networks import OnlineNetwork
from semppl.runs import keras_weights
from semppl.runs.keras_weights import Arrays

_EPSILON_MORE = 1.001e-5 - 1e-5
_MEAN_RED_GREEN_BLUE = (123.68, 116.779, 103.939)
_BLOCK = re.compile(r"conv(?P<group>[2-5])_block(?P<block>\d+)_1_conv/kernel")
_NUMBERED = re.compile(r"(?:.*/)?layers/(?P<kind>conv2d|batch_normalization)(?:_(?P<number>\d+))?/vars/(?P<array>\d)")
_KINDS = {
    "conv2d": ("conv", ("kernel", "bias")),
    "batch_normalization": ("bn", ("gamma", "beta", "moving_mean", "moving_variance")),
}


def read(path: str | pathlib.Path) -> ForeignCheckpoint:
    """Reads a ResNet-50, -101 or -152, version 1, from `.h5`, `.weights.h5` or `.keras`; runs no code of the file.

    Up to rounding, inference computes the same function of an RGB image as Keras' network after `preprocess_input`: a
    convolution's bias is folded into the mean of the following batch norm, Keras' larger ε into the variance, red and blue are
    swapped in the first kernel, and the mean and scale of pixels are hyper-parameters.

    Args:
        path: Path of a model or of weights, with or without the final layer.

    Raises:
        ValueError: if the file cannot be read, or contains another network.
    """
    arrays = _read_arrays(pathlib.Path(path))
    counts = [0, 0, 0, 0]
    for name in arrays:
        if match := _BLOCK.fullmatch(name):
            counts[int(match["group"]) - 2] += 1
    depth = next((depth for depth in KERAS_DEPTHS if BLOCKS_PER_GROUP[depth] == tuple(counts)), None)
    if depth is None:
        raise ValueError(
            f"--source must hold a ResNet of Keras Applications, depth {', '.join(map(str, KERAS_DEPTHS))}. "
            f"Received: {path}, with {tuple(counts)} blocks that have its names"
        )
    return ForeignCheckpoint(
        origin="Keras Applications",
        settings={
            "encoder": f"resnet{depth}_keras",
            "width": 1.0,
            "pixel_mean": tuple(value / 255 for value in _MEAN_RED_GREEN_BLUE),
            "pixel_stddev": (1 / 255,) * 3,
        },
        arrays=_folded(arrays),
        variables=_variables,
    )


def _read_arrays(path: pathlib.Path) -> Arrays:
    """Returns the arrays of convolutions and norms by name, layer/array, with the layer names of Keras Applications."""
    stored = keras_weights.read_arrays(path, flag="source")
    if any(_NUMBERED.fullmatch(name) for name in stored):
        return _by_name(stored)
    named = {"/".join(name.removesuffix(":0").split("/")[-2:]): array for name, array in stored.items()}
    return {name: array for name, array in named.items() if name.split("/")[0].endswith(("_conv", "_bn"))}


def _by_name(stored: Arrays) -> Arrays:
    """Names the layers of Keras' newer files, in which the layers of each kind are numbered in the order of the model."""
    found = {name: match for name in stored if (match := _NUMBERED.fullmatch(name))}
    number = {name: int(match["number"] or 0) for name, match in found.items()}
    convolutions = 1 + max(number[name] for name, match in found.items() if match["kind"] == "conv2d")
    for depth in KERAS_DEPTHS:
        layers = _layers_in_order(depth)
        if len(layers) == convolutions and max(number.values()) < len(layers):
            return {
                f"{layers[number[name]]}_{_KINDS[match['kind']][0]}/{_KINDS[match['kind']][1][int(match['array'])]}": stored[
                    name
                ]
                for name, match in found.items()
            }
    return {}


def _layers_in_order(depth: int) -> list[str]:
    """Lists the names of convolutions; in the first block of a group, the shortcut's (0) is the third."""
    blocks = [(group, block) for group, count in enumerate(BLOCKS_PER_GROUP[depth]) for block in range(count)]
    places = {True: (1, 2, 0, 3), False: (1, 2, 3)}
    return ["conv1"] + [f"conv{g + 2}_block{b + 1}_{place}" for g, b in blocks for place in places[b == 0]]


def _folded(arrays: Arrays) -> Arrays:
    """Converts the arrays to this project's network: no biases, ε = 1e-5, red before blue."""
    folded = {name: array for name, array in arrays.items() if not name.endswith("/bias")}
    for name, array in arrays.items():
        layer, _, kind = name.partition("/")
        mean = f"{layer.removesuffix('_conv')}_bn/moving_mean"
        if kind == "bias" and folded.get(mean, array[:0]).shape == array.shape:
            folded[mean] = folded[mean] - array
        elif kind == "moving_variance":
            folded[name] = array + np.float32(_EPSILON_MORE)
        elif name == "conv1_conv/kernel":
            folded[name] = array[:, :, ::-1]
    return folded


def _variables(network: OnlineNetwork) -> dict[str, tf.Variable]:
    """Returns the encoder's variables by their names in Keras Applications."""
    encoder = network.encoder
    layers = {"conv1_conv": encoder.stem_convolutions[0], "conv1_bn": encoder.stem_norms[0]}
    for g, group in enumerate(encoder.block_groups):
        for b, block in enumerate(group):
            place = f"conv{g + 2}_block{b + 1}"
            if block.project:
                layers |= {f"{place}_0_conv": block.shortcut_conv, f"{place}_0_bn": block.shortcut_norm}
            for i, (conv, norm) in enumerate(zip(block.convolutions, block.norms, strict=True), start=1):
                layers |= {f"{place}_{i}_conv": conv, f"{place}_{i}_bn": norm}
    return {
        f"{name}/{variable.name.split('/')[-1].removesuffix(':0')}": variable
        for name, layer in layers.items()
        for variable in layer.variables
    }
