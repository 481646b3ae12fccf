"""Which pictures a report shows: neighbours, hardest and suspicious pictures."""

from typing import NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors

from semppl.data.images import NO_LABEL

_VOTERS = 5


class Suspicious(NamedTuple):
    """Labelled pictures whose label the nearest other labelled pictures contradict, the most contradicted first.

    Attributes:
        rows: Integers `[s]`, rows of the pictures.
        classes: Integers `[s]`, the class that has most votes.
        shares: `[s]` share of the votes for that class, less the share for the label, in (0, 1].
    """

    rows: np.ndarray
    classes: np.ndarray
    shares: np.ndarray


def nearest_rows(queries: np.ndarray, memory: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows of the at most `count` embeddings `[m, D]` most similar to each of `[n, D]`: `[n, k]`, falling."""
    if not len(queries):
        return np.zeros([0, 0], np.int64)
    index = NearestNeighbors(n_neighbors=min(count, len(memory)), metric="cosine", algorithm="brute").fit(memory)
    rows: np.ndarray = index.kneighbors(queries, return_distance=False)
    return rows


def suspicious(embeddings: np.ndarray, labels: np.ndarray) -> Suspicious:
    """Finds labels that the five most similar other labelled pictures contradict, of which each picture is held out in turn.

    Args:
        embeddings: `[m, D]` embeddings of labelled pictures.
        labels: Integers `[m]`, 0 or more.
    """
    others = nearest_rows(embeddings, embeddings, _VOTERS + 1)
    votes = np.zeros([len(labels), int(labels.max(initial=0)) + 1])
    for row, near in enumerate(others):
        voters = labels[near[near != row][:_VOTERS]]
        votes[row] = np.bincount(voters, minlength=votes.shape[1]) / max(len(voters), 1)
    margins = votes.max(1, initial=0.0) - votes[np.arange(len(labels)), labels]
    rows = np.flatnonzero(margins > 0)
    rows = rows[np.argsort(-margins[rows], kind="stable")]
    return Suspicious(rows, votes.argmax(1)[rows], margins[rows])


def hardest(of_truth: np.ndarray) -> np.ndarray:
    """Returns the rows of pictures by rising probability of the true class, `[n]`; those with NaN are left out."""
    order = np.argsort(of_truth, kind="stable")
    return order[np.isfinite(of_truth[order])]


def queries(labels: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """Chooses pictures whose neighbours are shown: as many wrong as right ones where there are, evenly spaced.

    Args:
        labels: Integers `[n]`; NO_LABEL where unknown.
        classes: Integers `[n]`, predicted classes.
        count: Number of pictures.

    Returns:
        Rows, the wrong ones first; if no label is known, any.
    """
    known = labels != NO_LABEL
    if not known.any():
        return _spaced(np.arange(len(labels)), count)
    wrong, right = np.flatnonzero(known & (labels != classes)), np.flatnonzero(known & (labels == classes))
    half = count // 2
    first = _spaced(wrong, max(half, count - len(right)))
    return np.concatenate([first, _spaced(right, count - len(first))])


def _spaced(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns at most `count` of rows, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]
