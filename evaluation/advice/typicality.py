"""Typical and diverse pictures: the densest picture of each cluster that has no label yet."""

import itertools

import numpy as np
from sklearn import cluster

from semppl.data.images import NO_LABEL
from semppl.evaluation.neighbours.directions import distances, unit
from semppl.evaluation.neighbours.nearest_neighbours import nearest

_MAX_CLUSTERS = 500
_FEW_CLUSTERS = 50  # up to which k-means is fitted to all pictures, not to batches
_BATCH = 5000
_SMALLEST = 6  # pictures of a cluster; those of smaller ones come last
_NEIGHBOURS = 20
_SMALL = 1e-5  # added to a mean distance, which may be 0


def typical_rows(features: np.ndarray, labels: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Chooses pictures to label by TypiClust: one of each cluster in turn, the one with the nearest neighbours.

    K-means makes as many clusters as there will be labels, at most 500. Clusters with the fewest labels come first, and of these
    the largest. Clusters of fewer than six pictures come when all others are exhausted.

    Args:
        features: `[n, D]` features of any norm; their directions are compared.
        labels: Integers `[n]`; NO_LABEL where unknown.
        count: Number of pictures to choose, at most the number of pictures without a label.
        seed: Seed of k-means.

    Returns:
        Rows `[count]` without a label, in the order in which they are chosen.

    Reference: Hacohen et al. 2022, arXiv 2202.02794, algorithm 1, with the constants of its code.
    """
    directions, labelled = unit(features), labels != NO_LABEL
    clusters = clustered(directions, int(labelled.sum()) + count, seed=seed)
    sizes, known = (np.bincount(clusters[rows], minlength=clusters.max() + 1) for rows in (slice(None), labelled))
    order = np.lexsort([-sizes, known])
    left = {int(name): np.flatnonzero((clusters == name) & ~labelled) for name in order}
    chosen: list[int] = []
    for group in (order[sizes[order] >= _SMALLEST], order[sizes[order] < _SMALLEST]):
        for name in itertools.cycle(group.tolist()):
            if len(chosen) == count or not any(len(left[other]) for other in group.tolist()):
                break
            if len(left[name]):
                place = int(typicality(directions[left[name]]).argmax())
                chosen.append(int(left[name][place]))
                left[name] = np.delete(left[name], place)
    return np.array(chosen, np.int64)


def clustered(directions: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Clusters `[n, D]` unit-norm features by k-means into at most 500 clusters: integers `[n]`."""
    count = min(count, _MAX_CLUSTERS, len(directions))
    if count <= _FEW_CLUSTERS:
        model = cluster.KMeans(count, n_init=1, random_state=seed)
    else:
        model = cluster.MiniBatchKMeans(count, batch_size=_BATCH, n_init=1, random_state=seed)
    clusters: np.ndarray = model.fit_predict(directions)
    return clusters


def typicality(directions: np.ndarray) -> np.ndarray:
    """Computes how densely the pictures of a cluster lie.

    Args:
        directions: `[m, D]` unit-norm features of the cluster, m ≥ 1.

    Returns:
        `[m]`: 1 / (mean Euclidean distance to the nearest min(20, m // 2) other pictures + 1e-5).

    Reference: Hacohen et al. 2022, arXiv 2202.02794, eq. 4; the constants are those of its code.
    """
    if len(directions) == 1:
        return np.full(1, 1 / _SMALL)
    size = max(1, min(_NEIGHBOURS, len(directions) // 2))
    similarities, _ = nearest(directions, directions, size, own=np.arange(len(directions)))
    typical: np.ndarray = 1 / (distances(similarities).mean(1) + _SMALL)
    return typical
