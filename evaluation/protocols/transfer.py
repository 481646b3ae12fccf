"""Transfer to another data set: logistic regression on frozen features, with the L2 strength chosen on held-out images."""

import numpy as np
import threadpoolctl
from sklearn import linear_model

L2_STRENGTHS = np.logspace(-6, 5, 45)
"""λ of ½·λ‖w‖² beside the cross-entropy summed over images. Reference: Grill et al. 2020, arXiv 2006.07733, appendix D."""

_ITERATIONS = 1000


def choose_strength(
    features: np.ndarray, labels: np.ndarray, held_out: np.ndarray, held_out_labels: np.ndarray
) -> tuple[float, list[float]]:
    """Fits a logistic regression per strength of `L2_STRENGTHS`, and evaluates each on held-out images.

    Args:
        features: `[n, D]` features of the training images.
        labels: Integers `[n]`, of at least two classes.
        held_out: `[m, D]` features of the held-out images.
        held_out_labels: Integers `[m]`.

    Returns:
        The strength with the highest accuracy (the largest such strength in a tie), and the accuracy in 0..1 of every strength.
    """
    accuracies: dict[float, float] = {}
    with threadpoolctl.threadpool_limits(1):
        for strength in L2_STRENGTHS[::-1]:
            classes = _fitted(features, labels, strength).predict(held_out)
            accuracies[float(strength)] = float(np.mean(classes == held_out_labels))
    best = max(accuracies, key=accuracies.__getitem__)
    return best, [accuracies[float(strength)] for strength in L2_STRENGTHS]


def classes_of(features: np.ndarray, labels: np.ndarray, queries: np.ndarray, *, strength: float) -> np.ndarray:
    """Fits a logistic regression, and classifies the queries.

    Args:
        features: `[n, D]` features of the training images.
        labels: Integers `[n]`, of at least two classes.
        queries: `[q, D]` features of the images to classify.
        strength: λ, positive.

    Returns:
        `[q]` predicted classes.
    """
    with threadpoolctl.threadpool_limits(1):
        classes: np.ndarray = _fitted(features, labels, strength).predict(queries)
    return classes


def _fitted(features: np.ndarray, labels: np.ndarray, strength: float) -> linear_model.LogisticRegression:
    return linear_model.LogisticRegression(C=1 / strength, max_iter=_ITERATIONS).fit(features, labels)
