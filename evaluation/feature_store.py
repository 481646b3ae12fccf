"""Features by the latest checkpoint of a run, computed once and kept in the run's folder."""

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.data.files import array_cache
from semppl.data.files.lost_pictures import naming_lost_pictures
from semppl.data.images import Images, ImageSet
from semppl.evaluation.features import embed
from semppl.runs.checkpoints import latest_checkpoint

_FOLDER = "evaluated_features"
_MAX_VALUES = 2**27  # of features in float32, in one file
_BATCH = 256
_COLUMN = "features"
_OF_TRAINING = ("train", "head_width", "embedding_width", "frozen_norms", "frozen_stages")
"""Settings of networks that do not affect the features of an encoder that is not trained."""


class FeatureStore:
    """Maps images to features as `embed` does, and keeps the features until the run has a later checkpoint.

    Features are found by a digest of the checkpoint, the settings and the bytes of the images. Those of more than 2²⁷ values, or
    of a folder that cannot be written, are not kept.

    Args:
        workdir: Folder of the run.
    """

    def __init__(self, workdir: str | pathlib.Path) -> None:
        self._folder = pathlib.Path(workdir) / _FOLDER
        index = pathlib.Path(latest_checkpoint(workdir) + ".index").read_bytes()  # has a checksum of every weight
        settings = (pathlib.Path(workdir) / "hyperparameters.json").read_bytes()
        self._checkpoint = hashlib.sha256(index + settings).hexdigest()[:16]

    def embed(
        self,
        function: Callable[[tf.Tensor], tf.Tensor],
        images: Images,
        *,
        prepare: Callable[[tf.Tensor], tf.Tensor],
        positions: np.ndarray | None = None,
    ) -> np.ndarray:
        """Returns the features `[k, F]` of images at positions; see `embed` for the arguments.

        Raises:
            ValueError: If a feature is NaN or Inf.
        """
        digest = digest_of(images, np.arange(len(images)) if positions is None else positions)
        place = self._folder / f"{self._checkpoint}-{digest[:32]}.npz"
        kept = array_cache.load(place, (_COLUMN,))
        if kept is not None:
            return kept[_COLUMN]
        features = embed(function, images, prepare=prepare, positions=positions)
        if not np.isfinite(features).all():
            bad = int((~np.isfinite(features).all(1)).sum())
            raise ValueError(
                "--workdir must hold a checkpoint whose features are finite. "
                f"Received: features containing NaN or Inf for {bad} of {counted(len(features), 'image')}"
            )
        if features.size <= _MAX_VALUES and array_cache.save(place, {_COLUMN: features}):
            self._remove_others()
        return features

    def _remove_others(self) -> None:
        """Removes the features by earlier checkpoints."""
        for path in self._folder.glob("*.npz"):
            if not path.name.startswith(self._checkpoint):
                with contextlib.suppress(OSError):
                    path.unlink()


class SharedFeatureStore(FeatureStore):
    """Keeps the features of an encoder that is not trained in `--cache_dir`, for all runs with the same weights.

    Args:
        hyperparameters: Settings of a run with `--cache_dir`.
        encoder: The encoder, built.
    """

    def __init__(self, hyperparameters: Hyperparameters, encoder: tf.keras.layers.Layer) -> None:
        self._folder = pathlib.Path(hyperparameters.cache_dir) / _FOLDER
        settings = {name: value for name, value in hyperparameters.network.items() if name not in _OF_TRAINING}
        seen = {name: getattr(hyperparameters, name) for name in ("embedded_size", "recipe", "shrink", "channels")}
        digest = hashlib.sha256(json.dumps(settings | seen, sort_keys=True).encode())
        for variable in encoder.variables:
            digest.update(variable.numpy().tobytes())
        self._checkpoint = digest.hexdigest()[:16]

    def _remove_others(self) -> None:
        """Removes nothing: other runs use the features by other encoders."""


def digest_of(images: Images, positions: np.ndarray) -> str:
    """Computes the SHA-256 digest, in hexadecimal, of the bytes of images at positions `[k]`, in order."""
    digest = hashlib.sha256()
    for part in _bytes_of(images, positions):
        digest.update(part)
    return digest.hexdigest()


def digest_of_classified(images: Images, positions: np.ndarray, class_names: Sequence[str]) -> str:
    """Computes the SHA-256 digest, in hexadecimal, of labelled images at positions `[k]`, in order, and of their classes."""
    classes = "\n".join(class_names[label] for label in images.labels[positions])
    digest = hashlib.sha256(digest_of(images, positions).encode())
    digest.update(classes.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _bytes_of(images: Images, positions: np.ndarray) -> Iterator[bytes]:
    """Yields the bytes of images in order: of pixels in memory, or of encoded pictures on disk, with their sizes."""
    for first in range(0, len(positions), _BATCH):
        rows = positions[first : first + _BATCH]
        if isinstance(images, ImageSet):
            pixels = images.images[rows]
            yield f"{pixels.shape} {pixels.dtype}".encode() + pixels.tobytes()
            continue
        with naming_lost_pictures():
            for picture in images.encoded(tf.constant(rows, tf.int64))["image"].numpy():
                yield f"{images.channels} {len(picture)} ".encode() + picture
