"""Finds the most similar of many embeddings with FAISS: exactly where there are few, by cells where there are many."""

import dataclasses
import math
from typing import Any

import numpy as np

EXACT_UP_TO = 100_000
"""Embeddings; with more, comparing with all of them takes longer than a page should."""

KINDS = ("auto", "exact", "cells")
_SAMPLE = 256
_NEIGHBOURS = 10
_TOLERANCE = 1e-6  # of a similarity: which of two equal ones is found says nothing


@dataclasses.dataclass(frozen=True)
class Nearest:
    """An index of unit-norm embeddings by cosine similarity.

    Attributes:
        index: FAISS's.
        kind: exact (`IndexFlatIP`), or cells (`IndexIVFFlat`: only those near the query are looked into).
        cells: how many there are; 1 if exact.
        cells_searched: how many of them are looked into.
        recall: share of the ten nearest others that are found, over a sample of the embeddings.
    """

    index: Any
    kind: str
    cells: int
    cells_searched: int
    recall: float

    def search(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the embeddings most similar to `[q, D]`: similarities `[q, count]`, falling, and places `[q, count]`."""
        return search(self.index, queries, count)


def search(index: Any, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Asks a FAISS index: similarities `[q, count]`, falling, and places `[q, count]`; fewer where it holds fewer."""
    similarities, places = index.search(np.ascontiguousarray(queries, np.float32), min(count, index.ntotal))
    return similarities, places


def build(vectors: np.ndarray, *, kind: str = "auto", min_recall: float = 0.95) -> Nearest:
    """Builds an index.

    Args:
        vectors: `[n, D]` float32, unit-norm.
        kind: one of KINDS; auto is exact up to EXACT_UP_TO embeddings.
        min_recall: with cells, so many are looked into as this takes, in (0, 1].

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
    """Tells which share of the most similar is found, the query itself, first in both, left out.

    Args:
        found: `[q, k + 1]` similarities, falling, of what an index gives; minus infinity or less where it gives nothing.
        best: `[q, k + 1]` of what there is.
    """
    return float(np.mean(found[:, 1:] >= best[:, -1:] - _TOLERANCE))
