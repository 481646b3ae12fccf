"""Nearest-neighbour search with FAISS: exact for few embeddings, approximate by cells for many."""

import dataclasses
import math
from typing import Any

import numpy as np

EXACT_UP_TO = 100_000
"""Number of embeddings up to which comparing a query with all of them is fast enough for a page."""

KINDS = ("auto", "exact", "cells")
_SAMPLE = 256
_NEIGHBOURS = 10
_TOLERANCE = 1e-6  # of a similarity: of equally similar embeddings, any one counts as found


@dataclasses.dataclass(frozen=True)
class Nearest:
    """An index of unit-norm embeddings by cosine similarity.

    Attributes:
        index: FAISS index.
        kind: "exact" (`IndexFlatIP`) or "cells" (`IndexIVFFlat`, which searches only the cells near the query).
        cells: Number of cells; 1 if exact.
        cells_searched: Number of cells that are searched per query.
        recall: Share of the ten nearest neighbours that are found, over a sample of the embeddings.
    """

    index: Any
    kind: str
    cells: int
    cells_searched: int
    recall: float

    def search(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the embeddings most similar to `[q, D]` queries; see the function `search`."""
        return search(self.index, queries, count)


def search(index: Any, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Searches a FAISS index for `[q, D]` queries.

    Returns:
        Falling similarities and positions, `[q, count]` or as many as the index has; minus infinity and -1 where FAISS found fewer.
    """
    similarities, positions = index.search(np.ascontiguousarray(queries, np.float32), min(count, index.ntotal))
    return similarities, positions


def found(index: Any, queries: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Searches a FAISS index, and leaves out what FAISS pads with where the cells near a query hold fewer than `count` embeddings.

    Returns:
        Falling similarities and positions for each of the `[q, D]` queries, at most `count` of each.
    """
    pairs = zip(*search(index, queries, count), strict=True)
    return [(similarities[positions >= 0], positions[positions >= 0]) for similarities, positions in pairs]


def build(vectors: np.ndarray, *, kind: str = "auto", min_recall: float = 0.95) -> Nearest:
    """Builds an index.

    Args:
        vectors: `[n, D]` unit-norm embeddings.
        kind: One of `KINDS`; "auto" is exact up to `EXACT_UP_TO` embeddings.
        min_recall: Recall in (0, 1] that the number of searched cells must reach.

    Raises:
        ValueError: if `kind` is unknown.
    """
    import faiss

    if kind not in KINDS:
        raise ValueError(f"--kind must be one of {', '.join(KINDS)}. Received: {kind}")
    exact = faiss.IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    if kind == "exact" or (kind == "auto" and len(vectors) <= EXACT_UP_TO):
        return Nearest(exact, "exact", 1, 1, 1.0)
    cells = max(1, round(4 * math.sqrt(len(vectors))) if len(vectors) > EXACT_UP_TO else len(vectors) // 39)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    sample = vectors[np.unique(np.linspace(0, len(vectors) - 1, _SAMPLE).astype(int))]
    best, _ = search(exact, sample, _NEIGHBOURS + 1)
    while True:
        reached = recall(search(index, sample, _NEIGHBOURS + 1)[0], best)
        if reached >= min_recall or index.nprobe >= cells:
            return Nearest(index, "cells", cells, int(index.nprobe), reached)
        index.nprobe = min(2 * index.nprobe, cells)


def recall(found: np.ndarray, best: np.ndarray) -> float:
    """Returns the share of the `k` most similar embeddings that an index finds, without the query itself; 1 if k is 0.

    Args:
        found: `[q, k + 1]` falling similarities of the embeddings found, the query first; minus infinity for missing ones.
        best: `[q, k + 1]` falling similarities of the most similar embeddings, the query first.
    """
    return float(np.mean(found[:, 1:] >= best[:, -1:] - _TOLERANCE)) if best.shape[1] > 1 else 1.0
