"""k-nearest-neighbour classification by cosine similarity, and the exact search behind it."""

import numpy as np

from semppl.evaluation.neighbours.directions import unit

K_GRID = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURE = 0.1
"""Of weighted votes, in evaluation and in advice. It is that of MoCo's and lightly's k-NN benchmarks, to which accuracies are
compared; Wu et al. and DINO use 0.07."""

_MAX_JUDGED = 2000  # entries that are classified by the others
_BLOCK = 1024  # rows of the memory that are compared at a time
_GROUPS = 32  # of a block, of each of which the largest similarity is looked at first


def nearest(
    queries: np.ndarray,
    memory: np.ndarray,
    k: int,
    *,
    own: np.ndarray | None = None,
    chunk: int = 1024,
    block: int = _BLOCK,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the `k` entries of a memory that are most similar to each query; no entry is passed over.

    Beside the arguments and the results, about `chunk · block` similarities are in memory at a time.

    Args:
        queries: `[n, D]` embeddings, of any norm.
        memory: `[m, D]` embeddings, of any norm.
        k: Number of entries, in 1..m, or with `own` in 0..m - 1.
        own: Integers `[n]`, positions in the memory of the queries themselves, which are left out; None: none.
        chunk: Number of queries that are compared at a time.
        block: Number of entries that are compared at a time.

    Returns:
        Cosine similarities `[n, k]`, falling, and positions `[n, k]` in the memory; of equal similarities, the smaller position
        comes first.

    Raises:
        ValueError: If `k` is out of range, or an embedding contains NaN or Inf.
    """
    least, most = (1, len(memory)) if own is None else (0, len(memory) - 1)
    if not least <= k <= most:
        of = "the size of the memory" if own is None else "the others in the memory"
        raise ValueError(f"`k` must be in {least}..{most}, {of}. Received: {k}")
    for name, rows in (("queries", queries), ("memory", memory)):
        if not np.isfinite(rows).all():
            raise ValueError(f"`{name}` must be finite. Received: embeddings containing NaN or Inf")
    count = k + (own is not None)
    found = [_Found(unit(queries[first : first + chunk]), count) for first in range(0, len(queries), chunk)]
    for first in range(0, len(memory), block):
        entries = unit(memory[first : first + block])
        for part in found:
            part.compare(entries, first)
    similarities, positions = (np.concatenate(parts) for parts in zip(*(part.result() for part in found), strict=True))
    return (similarities, positions) if own is None else _without(own, similarities, positions)


def _without(own: np.ndarray, similarities: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leaves each query's own position out of `[n, k + 1]` results: `[n, k]`."""
    itself = positions == own[:, np.newaxis]
    itself[~itself.any(1), -1] = True  # of many equal entries, this one is not among those found
    shape = len(own), positions.shape[1] - 1
    return similarities[~itself].reshape(shape), positions[~itself].reshape(shape)


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
    similarities, positions = nearest(queries, memory, k, chunk=chunk)
    return voted_classes(similarities, labels[positions])


def voted_classes(similarities: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Returns the classes `[n]` of the votes `[n, k]` of neighbours with similarities `[n, k]`; see `nearest_neighbour_classes`."""
    classes, votes = np.unique(votes, return_inverse=True)
    votes = votes.reshape(similarities.shape)
    counts, sums = _summed(np.ones(votes.shape), votes, len(classes)), _summed(similarities, votes, len(classes))
    sums[counts < counts.max(1, keepdims=True)] = -np.inf
    chosen: np.ndarray = classes[sums.argmax(1)]
    return chosen


def weighted_neighbour_shares(
    queries: np.ndarray, memory: np.ndarray, labels: np.ndarray, *, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lets the `k` most similar entries of a labelled memory vote with weights exp(similarity / 0.1).

    Args:
        queries: `[n, D]` embeddings, of any norm.
        memory: `[m, D]` embeddings, of any norm.
        labels: Integers `[m]`, classes of the memory.
        k: Number of nearest neighbours that vote, in 1..m.

    Returns:
        The shares `[n, C]` of the votes for each class, which add up to 1, and the classes `[C]`, rising.

    Raises:
        ValueError: If `k` is out of range.

    Reference: Wu et al. 2018, arXiv 1805.01978, section 3.4, with another temperature.
    """
    classes, places = np.unique(labels, return_inverse=True)
    similarities, positions = nearest(queries, memory, k)
    return weighted_shares(similarities, places[positions], len(classes)), classes


def weighted_shares(similarities: np.ndarray, votes: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the shares `[n, C]` of votes `[n, k]` in 0..C-1 that are weighted by similarities `[n, k]`, the first the largest."""
    weights = np.exp((similarities - similarities[:, :1]) / TEMPERATURE)
    return _summed(weights / weights.sum(1, keepdims=True), votes, num_classes)


def choose_neighbours(memory: np.ndarray, labels: np.ndarray) -> int:
    """Chooses the number of weighted neighbours in `K_GRID` that classifies most entries of a memory by the others.

    Of more than 2,000 entries, a fixed draw is classified.

    Args:
        memory: `[m, D]` embeddings.
        labels: Integers `[m]`, classes.

    Returns:
        The number, at most m; the smallest of the best.
    """
    grid = [k for k in K_GRID if k < len(memory)]
    if not grid:
        return 1
    classes, places = np.unique(labels, return_inverse=True)
    rows = np.sort(np.random.default_rng(0).permutation(len(memory))[:_MAX_JUDGED])
    similarities, positions = nearest(memory[rows], memory, grid[-1], own=rows)
    shares = [weighted_shares(similarities[:, :k], places[positions[:, :k]], len(classes)) for k in grid]
    hits = [np.sum(part.argmax(1) == places[rows]) for part in shares]
    return grid[int(np.argmax(hits))]


class _Found:
    """The nearest entries to a chunk of queries among those that were compared so far.

    Entries that may be among the nearest are collected, and sorted in when there are as many as those found.
    """

    def __init__(self, queries: np.ndarray, k: int) -> None:
        self._queries = queries
        self._k = k
        count = len(queries)
        self._rows = np.zeros(0, np.int64)
        self._similarities = np.zeros(0, queries.dtype)
        self._positions = np.zeros(0, np.int64)
        self._least = np.full(count, -np.inf, queries.dtype)  # similarity of the k-th nearest so far
        self._collected: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def compare(self, entries: np.ndarray, first: int) -> None:
        """Compares the queries with unit-norm entries `[b, D]` of positions `first` and on."""
        similarities = self._queries @ entries.T  # [n,b]
        width = similarities.shape[1] // _GROUPS * _GROUPS
        grouped = similarities[:, :width].reshape(len(similarities), _GROUPS, -1)  # a view
        rows, places = np.nonzero(grouped.max(1) > self._least[:, np.newaxis]) if width else np.zeros((2, 0), np.int64)
        columns = places[:, np.newaxis] + np.arange(_GROUPS) * (width // _GROUPS)  # [c,g]
        ends = np.nonzero(similarities[:, width:] > self._least[:, np.newaxis])
        rows, columns = np.concatenate([rows.repeat(_GROUPS), ends[0]]), np.append(columns, ends[1] + width)
        values = similarities[rows, columns]
        near = values > self._least[rows]
        self._collected.append((rows[near], values[near], columns[near] + first))
        if sum(len(part[0]) for part in self._collected) >= len(self._queries) * self._k:
            self._sort_in()

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the similarities and positions `[n, k]`."""
        self._sort_in()
        shape = len(self._queries), self._k
        return self._similarities.reshape(shape), self._positions.reshape(shape)

    def _sort_in(self) -> None:
        found = self._rows, self._similarities, self._positions
        rows, similarities, positions = (np.concatenate(parts) for parts in zip(found, *self._collected, strict=True))
        self._collected = []
        order = np.lexsort((positions, -similarities, rows))
        rows, similarities, positions = rows[order], similarities[order], positions[order]
        ranks = np.arange(len(rows)) - np.searchsorted(rows, rows)
        kept = ranks < self._k
        self._rows, self._similarities, self._positions = rows[kept], similarities[kept], positions[kept]
        last = ranks[kept] == self._k - 1
        self._least[self._rows[last]] = self._similarities[last]


def _summed(values: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """Sums values `[n, k]` by places `[n, k]` in 0..count-1: float64 `[n, count]`."""
    rows = np.arange(len(values))[:, np.newaxis] * count
    return np.bincount((rows + places).ravel(), values.ravel(), len(values) * count).reshape(len(values), count)
