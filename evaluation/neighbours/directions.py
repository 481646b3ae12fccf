"""Features of unit norm, and the nearest of them."""

import numpy as np
import threadpoolctl

_CHUNK = 1024


def unit(rows: np.ndarray) -> np.ndarray:
    """Divides features `[n, D]` by their Euclidean norm; a row of zeros remains zeros."""
    directions: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return directions


def nearest(
    queries: np.ndarray, memory: np.ndarray, count: int, *, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the most similar rows of a memory, exactly, a chunk of queries at a time.

    Args:
        queries: `[n, D]` features of unit norm.
        memory: `[m, D]` features of unit norm.
        count: Number of rows per query, k; at most m, or m - 1 with `own`.
        own: Integers `[n]`, the row of the memory that is the query itself, which is left out; None: none.

    Returns:
        Rows `[n, k]` of the memory, the most similar first, of equal ones the smaller first; and their cosine similarities
        `[n, k]`.
    """
    rows, similarities = np.zeros([len(queries), count], np.int64), np.zeros([len(queries), count], memory.dtype)
    with threadpoolctl.threadpool_limits(1):
        for first in range(0, len(queries), _CHUNK):
            part = slice(first, first + _CHUNK)
            scores = queries[part] @ memory.T
            if own is not None:
                scores[np.arange(len(scores)), own[part]] = -np.inf
            found = np.sort(np.argpartition(-scores, count - 1)[:, :count]) if count else rows[part]
            order = np.argsort(-np.take_along_axis(scores, found, 1), kind="stable")
            rows[part] = np.take_along_axis(found, order, 1)
            similarities[part] = np.take_along_axis(scores, rows[part], 1)
    return rows, similarities


def distances(similarities: np.ndarray) -> np.ndarray:
    """Maps cosine similarities of unit-norm features to their Euclidean distances, in 0..2."""
    apart: np.ndarray = np.sqrt(np.clip(2 - 2 * similarities, 0, 4))
    return apart
