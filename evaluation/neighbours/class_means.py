"""Classification by the nearest class mean."""

import numpy as np

from semppl.evaluation.neighbours.directions import unit


def class_mean_classes(queries: np.ndarray, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Classifies by the cosine similarity to the mean of each class's unit-norm features.

    Args:
        queries: `[n, D]` features, of any norm.
        features: `[m, D]` features of the labelled images, of any norm.
        labels: Integers `[m]`, classes of the labelled images.

    Returns:
        `[n]` classes of the most similar means; ties go to the smaller class.

    Reference: nearest class mean with cosine similarity, Mensink et al. 2013; Gidaris & Komodakis 2018, arXiv 1804.09458.
    """
    means, classes = class_means(features, labels)
    return classes[(queries @ means.T).argmax(1)]


def class_means(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the directions of the class means of unit-norm features.

    Args:
        features: `[m, D]`, of any norm.
        labels: Integers `[m]`.

    Returns:
        `[C, D]` unit-norm means, and the classes `[C]`, rising. A mean of zeros remains zeros.
    """
    directions = unit(features)
    classes = np.unique(labels)
    return unit(np.stack([directions[labels == name].mean(0) for name in classes])), classes
