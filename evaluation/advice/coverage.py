"""Coverage: pictures to label so that as many pictures as possible have a labelled one near them."""

import numpy as np

from semppl.data.images import NO_LABEL
from semppl.evaluation.advice.typicality import clustered
from semppl.evaluation.neighbours.directions import distances, unit
from semppl.evaluation.neighbours.nearest_neighbours import nearest

_RADII = np.linspace(0.1, 2.0, 39)
_PURITY = 0.95
_MOST = 12_000  # pictures that are compared with each other
_ROWS = 1024


def covering_rows(features: np.ndarray, labels: np.ndarray, count: int, *, radius: float) -> np.ndarray:
    """Chooses pictures to label by ProbCover: again and again the one within whose radius most uncovered pictures lie.

    When all pictures are covered, those that were chosen here begin to cover anew. Of more than 12,000 pictures, a fixed draw is
    compared.

    Args:
        features: `[n, D]` features of any norm; their directions are compared.
        labels: Integers `[n]`; NO_LABEL where unknown. A labelled picture covers those within the radius.
        count: Number of pictures to choose, at most the number of pictures without a label.
        radius: Euclidean distance of directions, in 0..2.

    Returns:
        Rows `[count]` without a label, in the order in which they are chosen; ties go to the smaller row.

    Reference: Yehuda et al. 2022, arXiv 2205.11320, algorithm 1.
    """
    directions, rows = unit(features), _drawn(np.flatnonzero(labels == NO_LABEL), max(_MOST, count))
    others = directions[rows]
    near = np.concatenate([distances(others[i : i + _ROWS] @ others.T) < radius for i in range(0, len(rows), _ROWS)])
    np.fill_diagonal(near, True)
    covered = _within(others, directions[labels != NO_LABEL], radius)
    degrees, free, chosen = near[:, ~covered].sum(1), np.ones(len(rows), bool), []
    for _ in range(count):
        if covered.all():
            covered = ~free
            degrees = near[:, ~covered].sum(1)
        best = int(np.where(free, degrees, -1).argmax())
        fresh = near[best] & ~covered
        degrees -= near[:, fresh].sum(1)
        covered |= fresh
        free[best] = False
        chosen.append(best)
    return rows[np.array(chosen, np.int64)]


def covered_share(features: np.ndarray, labels: np.ndarray, *, radius: float) -> float:
    """Returns the share of the pictures that have a labelled picture within the radius; see `covering_rows`."""
    directions = unit(features)
    within = _within(directions[_drawn(np.arange(len(labels)), _MOST)], directions[labels != NO_LABEL], radius)
    return float(within.mean())


def covering_radius(features: np.ndarray, num_clusters: int, *, seed: int = 0) -> float:
    """Finds the radius for `covering_rows`: the largest within which pictures are nearly always of one cluster.

    Args:
        features: `[n, D]` features of any norm; their directions are compared. Of more than 12,000, a fixed draw.
        num_clusters: Number of clusters of k-means, which stand for the classes.
        seed: Seed of k-means.

    Returns:
        The largest of 0.1, 0.15 … 2.0 for which at least 95 % of the pictures have none of another cluster within it; 0.1 if
        there is none.

    Reference: Yehuda et al. 2022, arXiv 2205.11320, section 3.3.
    """
    directions = unit(features[_drawn(np.arange(len(features)), _MOST)])
    clusters = clustered(directions, num_clusters, seed=seed)
    of_others = np.full(len(directions), np.inf)
    for name in np.unique(clusters):
        own, others = clusters == name, clusters != name
        if others.any():
            of_others[own] = distances(nearest(directions[own], directions[others], 1)[0][:, 0])
    pure = [radius for radius in _RADII if np.mean(of_others >= radius) >= _PURITY]
    return float(max(pure, default=_RADII[0]))


def _within(queries: np.ndarray, memory: np.ndarray, radius: float) -> np.ndarray:
    """Returns whether each query `[n, D]` has a row of the memory within the radius: bool `[n]`."""
    if not len(memory):
        return np.zeros(len(queries), bool)
    near: np.ndarray = distances(nearest(queries, memory, 1)[0][:, 0]) < radius
    return near


def _drawn(rows: np.ndarray, most: int) -> np.ndarray:
    """Draws at most so many of the rows, always the same ones, and sorts them."""
    return rows if len(rows) <= most else np.sort(np.random.default_rng(0).permutation(rows)[:most])
