"""Which pictures a report shows: neighbours, hardest and suspicious pictures."""

from typing import NamedTuple

import numpy as np

from semppl.data.images import NO_LABEL
from semppl.evaluation.advice.suspicion import doubt_labels
from semppl.evaluation.neighbours.nearest_neighbours import nearest


class Suspicious(NamedTuple):
    """Labelled pictures whose label the other labelled pictures contradict, the most doubtful first.

    Attributes:
        rows: Integers `[s]`, rows of the pictures.
        classes: Integers `[s]`, the class that has most votes.
        margins: `[s]` normalised margins of the labels, in 0..0.5.
    """

    rows: np.ndarray
    classes: np.ndarray
    margins: np.ndarray


def nearest_rows(queries: np.ndarray, memory: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows of the at most `count` embeddings `[m, D]` most similar to each of `[n, D]`: `[n, k]`, falling."""
    if not len(queries):
        return np.zeros([0, 0], np.int64)
    return nearest(queries, memory, min(count, len(memory)))[1]


def suspicious(embeddings: np.ndarray, labels: np.ndarray) -> Suspicious:
    """Finds labels that have fewer votes of the other labelled pictures than another class has; see `doubt_labels`.

    Args:
        embeddings: `[m, D]` embeddings of labelled pictures.
        labels: Integers `[m]`, 0 or more.
    """
    if len(np.unique(labels)) < 2:
        return Suspicious(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    doubts = doubt_labels(embeddings, labels)
    found = np.flatnonzero(doubts.margins < 0.5)
    found = found[np.argsort(doubts.scores[found], kind="stable")]
    return Suspicious(doubts.rows[found], doubts.classes[found], doubts.margins[found])


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
