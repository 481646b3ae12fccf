"""What an exported model answers to pictures, as rows of a table."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from semppl.export.assets import MODEL_CARD

_CLASSIFIED = ("label", "class_name", "probability", "abstain")


def read_card(model: str | pathlib.Path) -> dict[str, Any]:
    """Reads the card of an exported model.

    Raises:
        ValueError: if there is none.
    """
    path = pathlib.Path(model) / "assets" / MODEL_CARD
    if not path.is_file():
        raise ValueError(f"--model must be the folder of an exported model. Received: {model}")
    card: dict[str, Any] = json.loads(path.read_text())
    return card


class Answerer:
    """Asks an exported model.

    Args:
        model: its folder.
    """

    def __init__(self, model: str | pathlib.Path) -> None:
        self._model = tf.saved_model.load(str(model))  # its signatures need it alive
        self._signatures = self._model.signatures

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs of `serving_default`, `[b, …]` each.

        Args:
            inputs: `{"bytes": [b]}`, or `{"images": [b, H, W, C]}`, of which nothing need be encoded.
        """
        if "bytes" in inputs:
            outputs = self._signatures["serving_default"](bytes=tf.constant(inputs["bytes"]))
        else:
            outputs = self._signatures["embed_images"](images=tf.constant(inputs["images"]))
            if "ood" in self._signatures:
                classified = self._signatures["classify_embeddings"](embedding=outputs["embedding"])
                outputs |= {name: classified[name] for name in _CLASSIFIED}
                outputs["ood"] = self._signatures["ood"](embedding=outputs["embedding"])["ood"]
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def make_table(
    ids: Sequence[int], paths: Sequence[str], truths: Sequence[str], answers: dict[str, np.ndarray]
) -> pa.Table:
    """Makes a row per picture: id, path, truth, and the answers by name, `[b]` or `[b, D]` each."""
    columns = {"id": pa.array(ids, pa.int64()), "path": _texts(paths), "truth": _texts(truths)}
    for name, values in sorted(answers.items()):
        if values.ndim == 2:
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        else:
            columns[name] = _texts([value.decode() for value in values]) if values.dtype == object else pa.array(values)
    return pa.table(columns)


def _texts(values: Sequence[str]) -> pa.Array:
    """Names of files need not be UTF-8; bytes that are not are spelt out."""
    return pa.array([value.encode("utf-8", "backslashreplace").decode() for value in values], pa.string())
