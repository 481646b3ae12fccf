"""The ways in which a pure function of tensors is run here, which must agree: compiled by XLA, and inside tf.data."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def compiled(function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns what the function gives under XLA."""
    return tf.function(function, jit_compile=True)(*arguments)


def in_dataset(function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns what the function gives as a map of a dataset."""
    return next(iter(tf.data.Dataset.from_tensors(arguments).map(function)))


ALL = (("compiled", compiled), ("in_dataset", in_dataset))
