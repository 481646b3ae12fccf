"""Measures of predicted classes against the ground truth."""

import numpy as np


def accuracy(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the share of predicted classes `[t]` that equal the ground truth `[t]`."""
    return float(np.mean(classes == truth))


def balanced_accuracy(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the mean, over the classes in the ground truth `[t]`, of the accuracy of the predictions `[t]` on each class."""
    return float(np.mean([np.mean(classes[truth == label] == label) for label in np.unique(truth)]))


def cohen_kappa(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the accuracy of the predictions `[t]` beyond chance agreement, as a share of what is possible beyond chance.

    Chance agreement is that of drawing predictions and ground truth independently, each with its own frequencies of classes.

    Returns:
        1 for perfect predictions, 0 for those of chance; 0 also where predictions and ground truth are all of one class.

    Reference: Cohen 1960, A Coefficient of Agreement for Nominal Scales.
    """
    labels = np.union1d(classes, truth)
    shares = [
        np.bincount(np.searchsorted(labels, part), minlength=len(labels)) / len(part) for part in (classes, truth)
    ]
    chance = float(shares[0] @ shares[1])
    return (accuracy(classes, truth) - chance) / (1 - chance) if chance < 1 else 0.0


def macro_f1(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the mean of the F1 scores of all classes that occur in the predictions `[t]` or the ground truth `[t]`."""
    scores = []
    for label in np.union1d(classes, truth):
        predicted, own = classes == label, truth == label
        scores.append(2 * np.sum(predicted & own) / (np.sum(predicted) + np.sum(own)))
    return float(np.mean(scores))


MEASURES = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
"""The measures that are printed, with floors."""
MORE_MEASURES = {"cohen_kappa": cohen_kappa, "macro_f1": macro_f1}
