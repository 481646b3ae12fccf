"""Uncertain and diverse pictures: those between two classes, one of each kind."""

import numpy as np
from scipy import special
from sklearn import cluster

from semppl.data.images import NO_LABEL
from semppl.evaluation.logistic_regression import fit_logistic_regression
from semppl.evaluation.neighbours.directions import unit

_CANDIDATES = 10  # for each picture to choose


def uncertain_rows(features: np.ndarray, labels: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Chooses pictures to label that are uncertain and diverse.

    The pictures without a label whose two likeliest classes are closest, ten times as many as wanted, are clustered by k-means,
    each with 1 - margin as its weight; the picture nearest to each centre is chosen. The margin is that of logistic regression
    on the labelled pictures.

    Args:
        features: `[n, D]` features of any norm.
        labels: Integers `[n]`, of at least two classes; NO_LABEL where unknown.
        count: Number of pictures to choose, at most the number of pictures without a label.
        seed: Seed of k-means.

    Returns:
        Rows `[count]` without a label, the most uncertain first.

    Reference: Zhdanov 2019, Diverse mini-batch Active Learning, arXiv 1901.05954, section 3, with the margin.
    """
    known, free = np.flatnonzero(labels != NO_LABEL), np.flatnonzero(labels == NO_LABEL)
    model = fit_logistic_regression(features[known], labels[known], population=features)
    uncertainty = 1 - margins(special.softmax(model.logits(features[free]), axis=1))
    order = np.argsort(-uncertainty, kind="stable")[: _CANDIDATES * count]
    candidates, weights = unit(features[free[order]]), np.maximum(uncertainty[order], 1e-6)
    fitted = cluster.KMeans(count, n_init=1, random_state=seed).fit(candidates, sample_weight=weights)
    apart, clusters = fitted.transform(candidates), fitted.labels_
    chosen = [int(np.where(clusters == name, apart[:, name], np.inf).argmin()) for name in np.unique(clusters)]
    rest = [place for place in range(len(order)) if place not in set(chosen)]  # of clusters that are empty
    return free[order[sorted(sorted(chosen) + rest[: count - len(chosen)])]]


def margins(probabilities: np.ndarray) -> np.ndarray:
    """Maps probabilities `[n, C]`, C ≥ 2, to the largest less the second largest: `[n]`, in 0..1."""
    largest = np.sort(probabilities, axis=1)
    difference: np.ndarray = largest[:, -1] - largest[:, -2]
    return difference
