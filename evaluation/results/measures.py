"""Measures of predicted classes against the ground truth."""

import numpy as np


def accuracy(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the share of predicted classes `[t]` that equal the ground truth `[t]`."""
    return float(np.mean(classes == truth))


def balanced_accuracy(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the mean, over the classes in the ground truth `[t]`, of the accuracy of the predictions `[t]` on each class."""
    return float(np.mean([np.mean(classes[truth == label] == label) for label in np.unique(truth)]))


MEASURES = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
