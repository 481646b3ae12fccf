"""Label spreading over a graph of nearest neighbours, and a logistic regression on the spread labels."""

import warnings

import numpy as np
import scipy.sparse
from sklearn import semi_supervised

from semppl.data.images import NO_LABEL
from semppl.evaluation.logistic_regression import fit_by_default, held_out_parts
from semppl.evaluation.neighbours.directions import unit
from semppl.evaluation.neighbours.nearest_neighbours import nearest

GRAPH_NEIGHBOURS = (30, 15, 60)  # the first is the default
_ALPHA = 0.8  # share of a label that comes from neighbours


def label_spreading_classes(
    features: np.ndarray, labels: np.ndarray, queries: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """Spreads the known labels to all training images, fits a logistic regression to these, and classifies the queries.

    The graph joins each image to its nearest images by the cosine similarity of features that are standardised by mean and
    standard deviation of all images. The number of neighbours, 15, 30 or 60 with the image itself, is the one with which most
    held-out labelled images get their label; 30 in a tie, then 15, and 30 where no image can be held out. Images that no label
    reaches are left out of the regression, which is that of `fit_by_default`.

    Args:
        features: `[n, D]` features of the training images.
        labels: Integers `[n]`, classes of the training images; NO_LABEL where unknown. At least one is known.
        queries: `[q, D]` features of the images to classify.
        seed: Seed of the folds.

    Returns:
        `[q]` predicted classes.

    Reference: Zhou et al. 2004, Learning with Local and Global Consistency, as in scikit-learn's LabelSpreading.
    """
    graphs = neighbour_graphs(features)
    known = np.flatnonzero(labels != NO_LABEL)
    hits = np.zeros(len(graphs))
    for training, held_out in held_out_parts(labels[known], seed):
        hidden = np.full_like(labels, NO_LABEL)
        hidden[known[training]] = labels[known[training]]
        rows = known[held_out]
        hits += [np.sum(spread_labels(graph, hidden)[rows] == labels[rows]) for graph in graphs]
    spread = spread_labels(graphs[int(hits.argmax())], labels)
    reached = spread != NO_LABEL
    # By default: held-out images would choose too little regularisation, because labels that were spread repeat each other.
    return fit_by_default(features[reached], spread[reached], population=features).predict(queries)


def neighbour_graphs(features: np.ndarray) -> list[scipy.sparse.csr_matrix]:
    """Returns the graphs `[n, n]` of 30, 15 and 60 neighbours of each image, by features `[n, D]`."""
    directions = _standardised_directions(features)
    _, rows = nearest(directions, directions, min(max(GRAPH_NEIGHBOURS), len(features)))
    return [_graph(rows[:, : min(size, len(features))]) for size in GRAPH_NEIGHBOURS]


def spread_labels(graph: scipy.sparse.csr_matrix, labels: np.ndarray) -> np.ndarray:
    """Spreads labels over a graph, by scikit-learn's LabelSpreading.

    Args:
        graph: `[n, n]`, 1 from an image to each of its neighbours.
        labels: Integers `[n]`; NO_LABEL where unknown.

    Returns:
        Integers `[n]`: the label with the largest share; NO_LABEL where no label arrives within 30 steps.
    """
    classes, shares = spread_shares(graph, labels)
    spread: np.ndarray = np.where(shares.sum(1) > 0, classes[shares.argmax(1)], NO_LABEL)
    return spread


def spread_shares(graph: scipy.sparse.csr_matrix, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spreads labels over a graph as `spread_labels` does.

    Returns:
        The classes `[C]` that occur, rising, and the share of each class `[n, C]`; zeros where no label arrives.
    """
    model = semi_supervised.LabelSpreading(kernel=lambda rows, others: graph, alpha=_ALPHA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of too few iterations
        model.fit(np.zeros([len(labels), 1]), labels)
    return model.classes_, model.label_distributions_


def _standardised_directions(features: np.ndarray) -> np.ndarray:
    stddev = features.std(0)
    rows = (features - features.mean(0)) / np.where(stddev > 0, stddev, 1)
    return unit(rows)


def _graph(nearest: np.ndarray) -> scipy.sparse.csr_matrix:
    """Returns the graph `[n, n]` of the neighbours `[n, k]` of each image."""
    count, neighbours = nearest.shape
    ends = np.arange(0, count * neighbours + 1, neighbours)
    return scipy.sparse.csr_matrix((np.ones(count * neighbours), nearest.ravel(), ends), shape=(count, count))
