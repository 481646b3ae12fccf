"""What the tests share: two CPU replicas, steps in float64, where the real data stand, and which tests are slow.

Import this before TensorFlow runs anything: the CPU can be split into logical devices only before TensorFlow initialises,
and Bazel, which loads no conftest.py, must see the same devices as pytest.
"""

import functools
import importlib.util
import os
import pathlib
import types
import unittest
import zipfile
from collections.abc import Callable
from typing import Any, TypeVar
from unittest import mock

import pytest
import tensorflow as tf
from absl import flags

from semppl.layers import embedding_queue

NUM_CPU_DEVICES = 4
HAS_ADDONS = importlib.util.find_spec("tensorflow_addons") is not None
"""Whether tensorflow-addons is installed, of which there is no release for TensorFlow 2.16 or later."""

_CPU = tf.config.list_physical_devices("CPU")[0]
if len(tf.config.get_logical_device_configuration(_CPU) or ()) < NUM_CPU_DEVICES:
    tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * NUM_CPU_DEVICES)
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()

_T = TypeVar("_T", bound=Callable[..., Any] | type)


@functools.cache
def replicas(count: int) -> tf.distribute.Strategy:
    """Returns a strategy of `count` CPU replicas, always the same one; one replica is the default strategy.

    Strategies of one process must not share collective keys: TensorFlow counts them per strategy from the same base.
    """
    if count == 1:
        return tf.distribute.get_strategy()
    tf.distribute.MirroredStrategy._collective_key_base += 100_000
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])


def two_replicas() -> tf.distribute.Strategy:
    """Returns a MirroredStrategy over two logical CPU devices."""
    return replicas(2)


def slow(test: _T) -> _T:
    """Marks a test that takes minutes: pytest's `slow` mark, and skipped everywhere unless SEMPPL_SLOW is set.

    Raises:
        TypeError: if it is no function or class, but say a list of parameterized tests, which would lose the mark.
    """
    if not isinstance(test, type | types.FunctionType):
        raise TypeError(f"@slow must stand right above a test's def or class. Received: {test!r}")
    skip = unittest.skipUnless(os.environ.get("SEMPPL_SLOW"), "slow: set SEMPPL_SLOW=1, or `make test-slow`")
    marked: _T = pytest.mark.slow(skip(test))
    return marked


def shared_data(relative: str) -> pathlib.Path:
    """Returns the path of real data, or skips the test by name where there is none."""
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    path = pathlib.Path(os.environ.get("SEMPPL_TEST_DATA", default)) / relative
    if not path.exists():
        raise unittest.SkipTest(f"no {relative} in ../shared/data or $SEMPPL_TEST_DATA")
    return path


def unzipped(relative: str, folder: pathlib.Path) -> pathlib.Path:
    """Unpacks an archive of real data into a folder and returns that, or skips the test by name where there is none."""
    with zipfile.ZipFile(shared_data(relative)) as archive:
        archive.extractall(folder)
    return folder


def golden(name: str) -> pathlib.Path:
    """Returns the path of a recorded output in tests/goldens."""
    return pathlib.Path(__file__).resolve().parent / "goldens" / name


class DoubleQueue(embedding_queue.EmbeddingQueue):
    """A queue in float64, so that nothing of a step is rounded to float32."""

    def _state(self, name: str, shape: list[int], dtype: tf.DType, fill: Any) -> tf.Variable:
        return super()._state(name, shape, tf.float64 if dtype == tf.float32 else dtype, fill)


def use_float64(test: Any) -> None:
    """Lets a test run in float64 throughout."""
    test.addCleanup(tf.keras.backend.set_floatx, tf.keras.backend.floatx())
    test.addCleanup(tf.keras.mixed_precision.set_global_policy, tf.keras.mixed_precision.global_policy())
    tf.keras.backend.set_floatx("float64")
    tf.keras.mixed_precision.set_global_policy("float64")
    for module in ("semppl.trainers.semantic", "semppl.trainers.baselines.simmatch"):
        test.enter_context(mock.patch(f"{module}.EmbeddingQueue", DoubleQueue))
