"""Labelled images as a served model sees them: embeddings, labels, identifiers and fingerprints."""

import dataclasses

import numpy as np

FIRST_ADDED_ID = 2**32
"""Identifier of the first picture that `update_memory` adds; a training image's identifier is its position."""

_SAME_SIMILARITY = 1 - 1e-6  # of two copies of a picture, where a fingerprint is missing
_MIN_WIDTH = 8  # different pictures may have equal embeddings in fewer dimensions


@dataclasses.dataclass(frozen=True)
class EmbeddedImages:
    """Labelled images in the embedding space of a model.

    Attributes:
        embeddings: `[n, D]` unit-norm.
        labels: int32 `[n]`.
        ids: int64 `[n]`: position in the training set, or `FIRST_ADDED_ID` and up for added pictures; -1 for held-out images.
        groups: int64 `[n]`, equal for images that show the same thing.
        fingerprints: int64 `[n]` hash of the pixels, equal for copies; 0 if unknown.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    groups: np.ndarray
    fingerprints: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "EmbeddedImages":
        """Selects rows by position or by a boolean mask."""
        return EmbeddedImages(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def join(self, other: "EmbeddedImages") -> "EmbeddedImages":
        """Appends the rows of `other`."""
        parts = ((getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        return EmbeddedImages(*(np.concatenate(pair) for pair in parts))

    def copies(self, others: "EmbeddedImages") -> np.ndarray:
        """Finds copies: bool `[n, m]`, by fingerprint where both images have one, by embedding elsewhere."""
        alike = self.embeddings @ others.embeddings.T > _SAME_SIMILARITY
        if self.embeddings.shape[1] < _MIN_WIDTH:
            alike[:] = False
        mine, theirs = self.fingerprints[:, np.newaxis], others.fingerprints
        return np.where((mine != 0) & (theirs != 0), mine == theirs, alike)
