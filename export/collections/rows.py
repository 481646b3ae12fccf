"""The answers of an exported model to pictures, and a table of these."""

import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf


class Answerer:
    """Runs the default signature of an exported model.

    Args:
        model: Folder of the model.
    """

    def __init__(self, model: str | pathlib.Path) -> None:
        self._model = tf.saved_model.load(str(model))  # keeps the variables of the signature alive
        self._answer = self._model.signatures["serving_default"]

    def __call__(self, pictures: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Returns the outputs of `serving_default` for `b` picture files, `[b, …]` each."""
        outputs = self._answer(bytes=tf.constant(pictures))
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def make_table(
    ids: Sequence[int], paths: Sequence[str], truths: Sequence[str], answers: dict[str, np.ndarray]
) -> pa.Table:
    """Makes a table with a row per picture: id, path, truth, and the answers by name, `[b]` or `[b, D]` each."""
    columns = {"id": pa.array(ids, pa.int64()), "path": _texts(paths), "truth": _texts(truths)}
    for name, values in sorted(answers.items()):
        if values.ndim == 2:
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        else:
            columns[name] = _texts([value.decode() for value in values]) if values.dtype == object else pa.array(values)
    return pa.table(columns)


def _texts(values: Sequence[str]) -> pa.Array:
    """Makes a column of strings; in names of files, bytes that are not UTF-8 are escaped."""
    return pa.array([value.encode("utf-8", "backslashreplace").decode() for value in values], pa.string())
