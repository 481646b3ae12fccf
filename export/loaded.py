"""An exported model loaded into this process: picture files to classes and embeddings, as NumPy arrays."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections.collection import read_pictures
from semppl.export.model.assets import read_card, read_class_names

_BATCH_SIZE = 64
_Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """The answers of a model to N pictures, in the order of the paths.

    Attributes:
        labels: int32 `[N]` positions of the most probable class in `Model.class_names`; -1 where not `valid`.
        class_names: object `[N]` of str, the name of that class; "" where not `valid`.
        probabilities: float32 `[N]` in 0..1, the calibrated probability of that class; 0 where not `valid`.
        abstains: bool `[N]`, whether the probability is too low to rely on, for the risk chosen at export; true where not
            `valid`.
        ood: float32 `[N]` in 0..100, the out-of-distribution score: the percentage of training images that are nearer to
            the centre of the training set than the picture; 100 where not `valid`.
        embeddings: float32 `[N, D]`, unit-norm; zeros where not `valid`.
        valid: bool `[N]`, false for a file that cannot be decoded as a picture.
    """

    labels: np.ndarray
    class_names: np.ndarray
    probabilities: np.ndarray
    abstains: np.ndarray
    ood: np.ndarray
    embeddings: np.ndarray
    valid: np.ndarray


class Model:
    """An exported model.

    Picture files are decoded as in training: JPEG, PNG, BMP, GIF, WebP and TIFF of any size, turned as EXIF says.

    Args:
        path: Folder of an exported model, `…/<name>/<version>`.

    Attributes:
        card: The model card: where the model comes from, how it was evaluated, licences.
        class_names: The names of the classes, in the order of the labels; empty for a model without a memory.

    Raises:
        ValueError: if `path` is not the folder of an exported model.
    """

    def __init__(self, path: _Path) -> None:
        self.card: dict[str, Any] = read_card(pathlib.Path(path))
        self.class_names: tuple[str, ...] = read_class_names(pathlib.Path(path))
        self._settings = Hyperparameters.from_dict(self.card["hyperparameters"])
        self._model = tf.saved_model.load(os.fspath(path))  # signatures do not keep their model alive

    def answer(self, paths: Iterable[_Path]) -> Predictions:
        """Classifies and embeds picture files, a batch at a time.

        Args:
            paths: N picture files, of any iterable.

        Raises:
            ValueError: if the model has no memory to answer from, or a file cannot be read.
        """
        if not self.class_names:
            raise ValueError("answer must come with a model that has a memory: export with memory=True, or use embed")
        outputs = self._run("serving_default", paths)
        return Predictions(
            labels=outputs["label"],
            class_names=np.array([name.decode() for name in outputs["class_name"]], object),
            probabilities=outputs["probability"],
            abstains=outputs["abstain"],
            ood=outputs["ood"],
            embeddings=outputs["embedding"],
            valid=outputs["valid"],
        )

    def embed(self, paths: Iterable[_Path]) -> np.ndarray:
        """Embeds picture files, a batch at a time.

        Args:
            paths: N picture files, of any iterable.

        Returns:
            Float32 `[N, D]`, unit-norm; a row of zeros for a file that cannot be decoded as a picture.

        Raises:
            ValueError: if a file cannot be read.
        """
        return self._run("embed_bytes", paths)["embedding"]

    def _run(self, name: str, paths: Iterable[_Path]) -> dict[str, np.ndarray]:
        signature = self._model.signatures[name]
        answers = [signature(bytes=tf.constant(read_pictures(batch, self._settings))) for batch in _batches(paths)]
        return {
            output: np.concatenate([_empty(spec), *(answer[output].numpy() for answer in answers)])
            for output, spec in signature.structured_outputs.items()
        }


def _batches(paths: Iterable[_Path]) -> Iterator[list[_Path]]:
    if isinstance(paths, str | bytes | os.PathLike):
        raise ValueError(f"paths must be a list of picture files. Received: one path, {os.fsdecode(paths)}")
    iterator = iter(paths)
    while batch := list(itertools.islice(iterator, _BATCH_SIZE)):
        yield batch


def _empty(spec: tf.TensorSpec) -> np.ndarray:
    """Makes the output of no pictures: `[0, …]` of a signature's type."""
    return np.zeros([0, *spec.shape[1:]], spec.dtype.as_numpy_dtype)
