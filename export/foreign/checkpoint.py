"""A checkpoint of another project, and the assignment of its arrays to a network."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.layers.networks import OnlineNetwork

HEADS = ("projector", "predictor")


@dataclasses.dataclass(frozen=True)
class ForeignCheckpoint:
    """The content of a checkpoint of another project.

    Attributes:
        origin: Name of the format.
        settings: Hyper-parameters of the network: encoder, width, and others that differ from the defaults.
        arrays: Arrays that belong to the network, by name in the file.
        variables: Function from a built network to its variables by these names, in the network's order.
        step: Number of training steps; 0 if unknown.
        lacks: Heads of the network that are not in the checkpoint.
    """

    origin: str
    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]
    variables: Callable[[OnlineNetwork], dict[str, tf.Variable]]
    step: int = 0
    lacks: tuple[str, ...] = HEADS

    def fill(self, network: OnlineNetwork) -> None:
        """Assigns the arrays to the variables of a built network.

        Raises:
            ValueError: if an array is missing, superfluous, of another shape or not finite; the message names the first such array.
                No variable has been assigned.
        """
        variables = self.variables(network)
        for name, variable in variables.items():
            self._check(name, variable.shape)
        superfluous = next((name for name in self.arrays if name not in variables), None)
        if superfluous is not None:
            raise self._mismatch(f"{superfluous} must not be there", self.arrays[superfluous].shape)
        for name, variable in variables.items():
            variable.assign(np.reshape(self.arrays[name].astype(np.float32, copy=False), variable.shape))

    def _check(self, name: str, shape: tf.TensorShape) -> None:
        expected = tuple(shape.as_list())
        if name not in self.arrays:
            raise self._mismatch(f"{name} must be there, with the shape {expected}", "none")
        array = self.arrays[name]
        if _without_leading_ones(array.shape) != _without_leading_ones(expected):
            raise self._mismatch(f"{name} must have the shape {expected}", array.shape)
        if array.dtype.kind not in "biuf":
            raise self._mismatch(f"{name} must hold real numbers", array.dtype)
        if not np.all(np.isfinite(array)):
            raise self._mismatch(f"{name} must be finite", f"{np.sum(~np.isfinite(array))} values that are not")

    def _mismatch(self, rule: str, received: object) -> ValueError:
        network = f"{self.settings['encoder']} of width {self.settings['width']:g}"
        return ValueError(f"--source must hold a {network}, which it looks like: {rule}. Received: {received}")


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drops leading ones: Haiku stores `[C]` as `[1, 1, 1, C]`, and a dense kernel may be a 1×1 convolution's."""
    sizes = list(shape)
    while sizes and sizes[0] == 1:
        sizes.pop(0)
    return tuple(sizes)
