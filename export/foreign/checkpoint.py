"""A checkpoint of another project, and how its arrays get into a network of ours."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.layers.networks import OnlineNetwork

HEADS = ("projector", "predictor")


@dataclasses.dataclass(frozen=True)
class ForeignCheckpoint:
    """What was found in a file.

    Attributes:
        origin: whose format it is, in words.
        settings: the hyper-parameters that its network has: encoder, width, and others where they are not the default.
        arrays: every array that belongs to our network, under the name in the file.
        variables: gives, for a built network, the variable for each of these names, in the network's order.
        step: steps that it was trained for; 0 if the file does not say.
        lacks: heads of our network that it does not fill.
    """

    origin: str
    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]
    variables: Callable[[OnlineNetwork], dict[str, tf.Variable]]
    step: int = 0
    lacks: tuple[str, ...] = HEADS

    def fill(self, network: OnlineNetwork) -> None:
        """Gives the variables of a built network the values of the checkpoint.

        Raises:
            ValueError: if an array is missing, superfluous, of another shape or not finite; one line that names the first
                such, and both shapes. Nothing has been assigned then.
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
    """Drops the ones in front: `[1, 1, 1, C]` is Haiku's `[C]`, and a 1×1 convolution of one pixel is a matrix."""
    sizes = list(shape)
    while sizes and sizes[0] == 1:
        sizes.pop(0)
    return tuple(sizes)
