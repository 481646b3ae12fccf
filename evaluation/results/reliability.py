"""Accuracy by confidence, as a reliability diagram shows it, and an interval of an accuracy."""

import math
from typing import NamedTuple

import numpy as np

from semppl.evaluation.results.calibration import BINS, bins_of

_Z = 1.959964  # of the normal distribution, for 95 %


class Reliability(NamedTuple):
    """Bins of predictions by confidence; empty bins are left out.

    Attributes:
        lower: `[b]` lower edges of the bins, rising; every bin is 1 / 15 wide.
        counts: Integers `[b]`, numbers of predictions.
        confidence: `[b]` mean confidences, in 0..1.
        accuracy: `[b]` shares of right predictions, in 0..1.
    """

    lower: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(confidence: np.ndarray, correct: np.ndarray, *, bins: int = BINS) -> Reliability:
    """Compares confidence and accuracy in bins of equal width.

    Args:
        confidence: `[t]` probability of the predicted class, in 0..1.
        correct: Booleans `[t]`, whether the predicted class is right.
        bins: Number of bins of (0, 1]; a confidence on an edge belongs to the lower bin. Default 15.

    Reference: Guo et al. 2017, arXiv 1706.04599, section 2.
    """
    places = bins_of(confidence, bins)
    counts = np.bincount(places, minlength=bins)
    used = np.flatnonzero(counts)
    means = (np.bincount(places, values, bins)[used] / counts[used] for values in (confidence, correct.astype(float)))
    return Reliability(used / bins, counts[used], *means)


def accuracy_interval(right: int, total: int) -> tuple[float, float]:
    """Returns the 95 % interval of an accuracy.

    Args:
        right: Number of right predictions.
        total: Number of predictions, 1 or more.

    Reference: Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference.
    """
    share, spread = right / total, _Z**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(centre - half, 0.0), min(centre + half, 1.0)
