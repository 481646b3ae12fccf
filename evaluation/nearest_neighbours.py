"""k-nearest-neighbour classification by cosine similarity."""

import numpy as np

from semppl.evaluation.neighbours.directions import unit


def nearest_neighbour_classes(
    queries: np.ndarray, memory: np.ndarray, labels: np.ndarray, *, k: int, chunk: int = 1024
) -> np.ndarray:
    """Classifies by the `k` most similar entries of a labelled memory; ties are broken as in training.

    Args:
        queries: `[n, D]` embeddings, of any norm.
        memory: `[m, D]` embeddings, of any norm.
        labels: Integers `[m]`, 0 or more: classes of the memory.
        k: Number of nearest neighbours that vote, in 1..m.
        chunk: Number of queries that are compared at a time.

    Returns:
        `[n]` most frequent label among the neighbours; ties go to the larger summed similarity, then to the smaller label.

    Raises:
        ValueError: If `k` is out of range.
    """
    if not 1 <= k <= len(memory):
        raise ValueError(f"`k` must be in 1..{len(memory)}, the size of the memory. Received: {k}")
    memory = unit(memory)
    classes = [_classify(unit(queries[i : i + chunk]) @ memory.T, labels, k) for i in range(0, len(queries), chunk)]
    return np.concatenate(classes)


def _classify(similarities: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    votes = labels[nearest]  # [n,k]
    weights = np.take_along_axis(similarities, nearest, axis=1).astype(np.float64)
    num_classes = int(labels.max()) + 1
    counts, sums = np.zeros((2, len(votes), num_classes))
    rows = np.arange(len(votes))
    for column in range(k):
        counts[rows, votes[:, column]] += 1
        sums[rows, votes[:, column]] += weights[:, column]
    sums[counts < counts.max(1, keepdims=True)] = -np.inf
    return np.argmax(sums, axis=1)
