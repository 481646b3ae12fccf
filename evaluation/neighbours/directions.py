"""Features of unit norm, and their distances."""

import numpy as np


def unit(rows: np.ndarray) -> np.ndarray:
    """Divides features `[n, D]` by their Euclidean norm; a row of zeros remains zeros."""
    directions: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return directions


def distances(similarities: np.ndarray) -> np.ndarray:
    """Maps cosine similarities of unit-norm features to their Euclidean distances, in 0..2."""
    apart: np.ndarray = np.sqrt(np.clip(2 - 2 * similarities, 0, 4))
    return apart
