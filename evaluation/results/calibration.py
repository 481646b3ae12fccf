"""Calibration of confidences, and the risk that is left when the least confident predictions are left out."""

import numpy as np

BINS = 15
COVERAGES = (0.5, 0.8, 0.9, 1.0)
"""Coverages at which the risk is reported."""


def bins_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Returns the bin, of equal ones of (0, 1], of each confidence `[t]`; a confidence on an edge belongs to the lower bin."""
    places: np.ndarray = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return places


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, *, bins: int = BINS) -> float:
    """Averages the difference between accuracy and confidence over bins of equal width.

    Args:
        confidence: `[t]` probability of the predicted class, in 0..1.
        correct: Booleans `[t]`, whether the predicted class is right.
        bins: Number of bins of (0, 1]; a confidence on an edge belongs to the lower bin. Default 15.

    Returns:
        Mean of |accuracy - mean confidence| over the bins, weighted by their numbers of predictions.

    Reference: Guo et al. 2017, arXiv 1706.04599, equation 3.
    """
    gaps = np.bincount(bins_of(confidence, bins), np.asarray(correct, np.float64) - confidence, bins)
    return float(np.abs(gaps).sum() / len(confidence))


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the share of wrong predictions among the most confident ones, for every threshold of the confidence.

    Args:
        confidence: `[t]` confidences.
        correct: Booleans `[t]`, whether the prediction is right.

    Returns:
        Coverages `[n]`, rising to 1, and the risks `[n]` at these; predictions of equal confidence are covered together.

    Reference: Geifman & El-Yaniv 2017, arXiv 1705.08500, section 2.
    """
    order = np.argsort(-confidence, kind="stable")
    last = np.append(np.flatnonzero(np.diff(confidence[order])), len(order) - 1)
    covered = last + 1
    return covered / len(order), np.cumsum(~np.asarray(correct, bool)[order])[last] / covered


def risks_at(coverages: np.ndarray, risks: np.ndarray) -> list[float]:
    """Returns the risks at the smallest coverages that are at least `COVERAGES`, of a curve of `risk_coverage`."""
    return [float(risks[np.searchsorted(coverages, least - 1e-12)]) for least in COVERAGES]


def area_under_risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Averages the risk over the coverages 1/t, 2/t, …, 1; predictions of equal confidence share their mean risk.

    Args:
        confidence: `[t]` confidences.
        correct: Booleans `[t]`, whether the prediction is right.

    Returns:
        The area under the curve of `risk_coverage`, a step function.

    Reference: Geifman et al. 2019, arXiv 1805.08206, section 3 (AURC).
    """
    coverages, risks = risk_coverage(confidence, correct)
    return float(np.diff(coverages, prepend=0) @ risks)
