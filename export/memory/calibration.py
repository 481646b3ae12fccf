"""When to trust an answer: temperature, threshold and prediction sets, fitted on labelled images that did not vote."""

import math

import numpy as np

NEVER = 2.0
"""A threshold that no probability reaches."""

_COLDEST, _WARMEST = 0.005, 2.0
_POINTS = 25
_ROWS = 256


def fit_temperature(similarities: np.ndarray, agree: np.ndarray) -> float:
    """Finds the temperature at which the true classes are likeliest.

    Args:
        similarities: `[n, M]` of images to remembered ones, minus infinity where an entry must not vote; n ≥ 1, and every row has
            an entry of its class that may vote.
        agree: `[n, M]` bool, whether an entry has the image's class.

    Returns:
        In 0.005..2, to about one part in fifty.
    """
    step = math.log(_WARMEST / _COLDEST) / (_POINTS - 1)
    coarse = np.exp(np.log(_COLDEST) + step * np.arange(_POINTS))
    best = _likeliest(coarse, similarities, agree)
    fine = np.clip(best * np.exp(step * np.linspace(-1, 1, _POINTS)), _COLDEST, _WARMEST)
    return _likeliest(fine, similarities, agree)


def _likeliest(temperatures: np.ndarray, similarities: np.ndarray, agree: np.ndarray) -> float:
    losses = [mean_nll(similarities, agree, temperature) for temperature in temperatures]
    return float(temperatures[int(np.argmin(losses))])


def mean_nll(similarities: np.ndarray, agree: np.ndarray, temperature: float) -> float:
    """Mean negative log-probability of the true class, in nats; arguments as in `fit_temperature`."""
    losses = [
        _nll(similarities[first : first + _ROWS] / temperature, agree[first : first + _ROWS])
        for first in range(0, len(similarities), _ROWS)
    ]
    return float(np.mean(np.concatenate(losses)))


def _nll(scaled: np.ndarray, agree: np.ndarray) -> np.ndarray:
    own = np.where(agree, scaled, -np.inf)
    return _log_sum_exp(scaled) - _log_sum_exp(own)


def _log_sum_exp(rows: np.ndarray) -> np.ndarray:
    largest = rows.max(axis=1, keepdims=True)
    return np.log(np.exp(rows - largest).sum(axis=1, dtype=np.float64)) + largest[:, 0]


def threshold_for_risk(confidences: np.ndarray, correct: np.ndarray, risk: float) -> float:
    """Finds the lowest threshold at which, among the answers given, at most a share `risk` is wrong.

    Args:
        confidences: `[n]` in 0..1.
        correct: `[n]` bool.
        risk: in 0..1.

    Returns:
        The threshold; NEVER where no threshold will do.

    Reference: Geifman & El-Yaniv 2017, arXiv 1705.08500, the empirical selective risk, without their margin.
    """
    order = np.argsort(-confidences, kind="stable")
    wrong = np.cumsum(~correct[order]) / np.arange(1, len(order) + 1)
    falling = confidences[order]
    whole = np.append(falling[1:] < falling[:-1], True)  # equal confidences are answered together
    allowed = np.flatnonzero((wrong <= risk) & whole)
    return float(falling[allowed[-1]]) if len(allowed) else NEVER


def threshold_for_coverage(confidences: np.ndarray, coverage: float) -> float:
    """Finds the highest threshold at which at least a share `coverage` of `[n]` confidences is answered; coverage in 0..1."""
    count = math.ceil(coverage * len(confidences) - 1e-9)
    return float(np.sort(confidences)[len(confidences) - count]) if count else NEVER


def set_threshold(true_probabilities: np.ndarray, coverage: float) -> float:
    """Finds the probability from which on classes belong to a set that holds the true one with the stated coverage.

    Args:
        true_probabilities: `[n]` that were given to the true classes.
        coverage: of exchangeable images, those whose set holds their class; in 0..1.

    Returns:
        The threshold; 0, all classes, where there are too few images for the coverage.

    Reference: split conformal prediction, Vovk et al. 2005; with this score: Sadinle et al. 2019, arXiv 1609.00451.
    """
    rank = math.floor((len(true_probabilities) + 1) * (1 - coverage) + 1e-9)  # of the smallest that may be missed
    return float(np.sort(true_probabilities)[rank - 1]) if rank >= 1 else 0.0


def calibration_error(confidences: np.ndarray, correct: np.ndarray, *, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over bins of equal width, weighted by their images.

    Reference: expected calibration error, Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    places = np.minimum((confidences * bins).astype(int), bins - 1)
    gaps = np.bincount(places, weights=confidences - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidences))
