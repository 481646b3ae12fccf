"""The parameters behind the recorded outputs of the official networks; see tests/goldens/README.md."""

import zlib

import numpy as np
import tensorflow as tf

from semppl.export.foreign import haiku_names
from semppl.layers.encoders.resnet import ResNet
from semppl.layers.heads import MLP


def images() -> np.ndarray:
    """Makes the four images `[4, 64, 64, 3]` that the networks were shown."""
    return np.random.default_rng(7).uniform(0, 1, (4, 64, 64, 3)).astype(np.float32)


def array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draws the array of a full Haiku name."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if "var_ema" in name:
        return generator.uniform(0.5, 1.5, shape)
    if "mean_ema" in name:
        return generator.standard_normal(shape) * 0.1
    if name.endswith("/w"):
        return generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    if name.endswith("/scale"):
        return generator.uniform(0.1, 0.5, shape)
    return generator.standard_normal(shape) * 0.1


def restore(layer: ResNet | MLP, module: str, inputs: np.ndarray) -> None:
    """Builds the layer on `inputs` and gives it the recorded network's parameters."""
    layer(tf.constant(inputs[:1]))
    for (path, name), variable in haiku_names.haiku_names(layer, module).items():
        variable.assign(array(f"{path}/{name}", tuple(variable.shape)))
