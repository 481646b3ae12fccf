"""Weights of a pretrained network for a third-party encoder: read from a file, compared, assigned, recorded."""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from semppl.layers.encoders.layer_graph import Place
from semppl.runs import keras_weights
from semppl.runs.keras_weights import Arrays

_NUMBERED = re.compile(r"(?P<place>(?P<prefix>.*?)layers/.*)/vars/\d+")


@dataclasses.dataclass(frozen=True)
class PretrainedWeights:
    """Weights of a network, with the shapes of an encoder's variables.

    Attributes:
        values: Arrays, one per variable, in the order of `variables_of`.
        file: Name of the file, without its folder.
        sha256: SHA-256 digest of the file, in hexadecimal.
    """

    values: list[np.ndarray]
    file: str
    sha256: str

    def assign_to(self, places: Sequence[Place]) -> None:
        """Assigns the weights to the variables of an encoder.

        Args:
            places: The encoder's `places`.
        """
        for (_, variable), value in zip(variables_of(places), self.values, strict=True):
            variable.assign(value.astype(variable.dtype.as_numpy_dtype))


def variables_of(places: Sequence[Place]) -> Iterator[tuple[str, tf.Variable]]:
    """Yields the name in Keras, such as "Conv1/kernel", of each variable, and the variable, trainable or not."""
    for place in places:
        for variable in (*place.layer._trainable_weights, *place.layer._non_trainable_weights):
            yield f"{place.layer.name}/{_role(variable)}", variable


def read_weights(path: str | pathlib.Path, places: Sequence[Place], *, network: str, flag: str) -> PretrainedWeights:
    """Reads the weights of a network from a file of Keras.

    Args:
        path: Path of a file of a model or of weights, of Keras 2 or 3, with or without a final layer.
        places: The encoder's `places`; the encoder's variables must exist.
        network: Name of the network in the error message.
        flag: Name of the flag in the error message.

    Raises:
        ValueError: If the file cannot be read, or an array is absent, superfluous, of another shape or
            not finite; the message names the first such array, and both shapes.
    """
    arrays = keras_weights.read_arrays(pathlib.Path(path), flag=flag)
    try:
        return PretrainedWeights(_values(arrays, places), pathlib.Path(path).name, _sha256(pathlib.Path(path)))
    except _Mismatch as mismatch:
        raise ValueError(f"--{flag} must hold the weights of {network}: {mismatch}. Received: {path}") from mismatch


def weights_of(model: tf.keras.Model, path: pathlib.Path) -> PretrainedWeights:
    """Returns the weights of a network that has loaded a file itself.

    Args:
        model: Network with the layers of an encoder, in the same order.
        path: Path of the file, for name and digest.
    """
    parts = [part for layer in model.layers for part in getattr(layer, "layers", [layer])]
    values = [
        variable.numpy() for part in parts for variable in (*part._trainable_weights, *part._non_trainable_weights)
    ]
    return PretrainedWeights(values, path.name, _sha256(path))


class _Mismatch(Exception):
    """An array that does not fit."""


def _values(arrays: Arrays, places: Sequence[Place]) -> list[np.ndarray]:
    numbered = any(_NUMBERED.fullmatch(name) for name in arrays)
    paths = _numbered_paths(arrays, places) if numbered else _named_paths(arrays, places)
    values = []
    for (name, variable), path in zip(variables_of(places), paths, strict=True):
        _check(name, tuple(variable.shape), arrays.get(path))
        values.append(arrays[path])
    _check_rest({name: array for name, array in arrays.items() if name not in set(paths)})
    return values


def _check(name: str, shape: tuple[int, ...], array: np.ndarray | None) -> None:
    if array is None:
        raise _Mismatch(f"{name} must be there, with the shape {shape}")
    if array.shape != shape:
        raise _Mismatch(f"{name} must have the shape {shape}, and has {array.shape}")
    if not np.all(np.isfinite(array)):
        raise _Mismatch(f"{name} must be finite, and has {np.sum(~np.isfinite(array))} values that are not")


def _check_rest(rest: Arrays) -> None:
    """Refuses the weights of a deeper network: only a final layer may be left, a kernel of at most 1×1 and a bias."""
    for name, array in rest.items():
        if array.ndim == 4 and max(array.shape[:2]) > 1:
            raise _Mismatch(f"{name} must not be there, with the shape {array.shape}")


def _numbered_paths(arrays: Arrays, places: Sequence[Place]) -> list[str]:
    """Returns paths in a file that numbers the layers of a class; the network may be a layer of another model."""
    prefixes = {match["prefix"] for name in arrays if (match := _NUMBERED.fullmatch(name))}
    prefixes |= {f"{prefix}{folder}/" for prefix in prefixes for folder in _folders(arrays, prefix)}
    paths = {
        prefix: [
            f"{prefix}{place.path}/vars/{number}"
            for place in places
            for number in range(len(place.layer._trainable_weights) + len(place.layer._non_trainable_weights))
        ]
        for prefix in sorted(prefixes)
    }
    return max(paths.values(), key=lambda candidates: sum(path in arrays for path in candidates))


def _folders(arrays: Arrays, prefix: str) -> set[str]:
    """Returns the models within a model."""
    nested = re.compile(rf"{re.escape(prefix)}(layers/\w+)/layers/.*")
    return {match[1] for name in arrays if (match := nested.fullmatch(name))}


def _named_paths(arrays: Arrays, places: Sequence[Place]) -> list[str]:
    """Returns paths in a file that names the layers; those with a generated name are found by class and order."""
    by_layer: dict[str, list[str]] = {}
    for path in arrays:
        by_layer.setdefault(_layer_of(path), []).append(path)
    generated: dict[str, Iterator[str]] = {}
    paths = []
    for place in places:
        kind = re.sub(r"_\d+$", "", place.path.rpartition("/")[2])
        pattern = re.compile(rf"(?:.*/)?{kind}(_\d+)?")
        same = generated.setdefault(kind, iter([layer for layer in by_layer if pattern.fullmatch(layer)]))
        stored = by_layer.get(place.name or next(same, "?"), [])
        count = len(place.layer._trainable_weights) + len(place.layer._non_trainable_weights)
        paths += [*stored[:count], *[f"{place.layer.name} is absent"] * (count - len(stored))]
    return paths


def _layer_of(path: str) -> str:
    """Returns the layer of a path such as "Conv1/Conv1/kernel:0": that of the weight's name, without its group."""
    parts = path.split("/")[:-1]
    half = len(parts) // 2
    return "/".join(parts[half:] if parts[:half] == parts[half:] else parts[1:] or parts)


def _role(variable: tf.Variable) -> str:
    return str(variable.name).rpartition("/")[2].partition(":")[0]


def _sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
