"""Calibration of a labelled memory: temperature, threshold and prediction sets, fitted on images that do not vote."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

CALIBRATION_SETS = ("held_out", "memory", "nothing")

NEVER = 2.0
"""A threshold that no probability reaches."""

_COLDEST, _WARMEST = 0.005, 2.0
_POINTS = 25
_ROWS = 256


@dataclasses.dataclass(frozen=True)
class CalibrationSettings:
    """What a memory is calibrated on, and what for.

    Attributes:
        calibrate_on: One of `CALIBRATION_SETS`. With held_out, one half of the held-out images is fitted and the other half
            is measured; with memory, the labelled images are fitted, each by the votes of the others, and all held-out
            images are measured; with nothing, nothing is fitted and the model never abstains.
        target_risk: Share of wrong answers among the answers, in `[0, 1)`; 0 if `target_coverage` is set.
        target_coverage: Share of images that are answered, in `[0, 1)`; 0 if `target_risk` is set.
        set_coverage: Share of prediction sets that contain the true class, in `(0, 1)`.

    Raises:
        ValueError: if a value is out of range, or not exactly one of the two targets is set.
    """

    calibrate_on: str = "held_out"
    target_risk: float = 0.05
    target_coverage: float = 0.0
    set_coverage: float = 0.9

    def __post_init__(self) -> None:
        if self.calibrate_on not in CALIBRATION_SETS:
            allowed = ", ".join(CALIBRATION_SETS)
            raise ValueError(f"--calibrate_on must be one of {allowed}. Received: {self.calibrate_on}")
        for name in ("target_risk", "target_coverage", "set_coverage"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name} must be in 0..1, below 1. Received: {getattr(self, name)}")
        if not self.set_coverage:
            raise ValueError("--set_coverage must be above 0. Received: 0.0")
        if (self.target_risk > 0) == (self.target_coverage > 0):
            received = f"--target_risk={self.target_risk} --target_coverage={self.target_coverage}"
            raise ValueError(
                f"Exactly one of --target_risk and --target_coverage must be positive. Received: {received}"
            )


class Calibration(NamedTuple):
    """Fitted parameters that turn similarities into answers.

    Attributes:
        temperature: Divisor of similarities before the vote; positive.
        threshold: Probability in 0..1 below which the model abstains; above 1, the model always abstains.
        set_threshold: Probability in 0..1 from which a class belongs to the prediction set.
    """

    temperature: float
    threshold: float
    set_threshold: float


def fit_temperature(similarities: np.ndarray, agree: np.ndarray) -> float:
    """Finds the temperature that maximises the likelihood of the true classes.

    Args:
        similarities: `[n, M]` similarities of images to remembered images, minus infinity where an entry must not vote;
            n ≥ 1, and every row has a voting entry of its class.
        agree: bool `[n, M]`, true where an entry has the image's class.

    Returns:
        The temperature, in 0.005..2, to a precision of about 2 %.
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
    """Returns the mean negative log-probability of the true class, in nats; for the arguments see `fit_temperature`."""
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
    """Finds the lowest threshold at which at most a share `risk` of the answers is wrong.

    Args:
        confidences: `[n]` probabilities of the predicted classes, in 0..1.
        correct: bool `[n]`, true where the prediction is right.
        risk: Largest share of wrong answers, in 0..1.

    Returns:
        The threshold; `NEVER` if no threshold has so small a risk.

    Reference: Geifman & El-Yaniv 2017, arXiv 1705.08500, the empirical selective risk, without their margin.
    """
    order = np.argsort(-confidences, kind="stable")
    wrong = np.cumsum(~correct[order]) / np.arange(1, len(order) + 1)
    falling = confidences[order]
    whole = np.append(falling[1:] < falling[:-1], True)  # equal confidences are answered together
    allowed = np.flatnonzero((wrong <= risk) & whole)
    return float(falling[allowed[-1]]) if len(allowed) else NEVER


def threshold_for_coverage(confidences: np.ndarray, coverage: float) -> float:
    """Finds the highest threshold that at least a share `coverage`, in 0..1, of the `[n]` confidences reaches."""
    count = math.ceil(coverage * len(confidences) - 1e-9)
    return float(np.sort(confidences)[len(confidences) - count]) if count else NEVER


def set_threshold(true_probabilities: np.ndarray, coverage: float) -> float:
    """Finds the probability threshold of prediction sets that contain the true class with a stated coverage.

    Args:
        true_probabilities: `[n]` probabilities of the true classes.
        coverage: Share of exchangeable images whose set contains the true class, in 0..1.

    Returns:
        The threshold; 0, which admits all classes, if there are too few images for the coverage.

    Reference: split conformal prediction, Vovk et al. 2005; with this score: Sadinle et al. 2019, arXiv 1609.00451.
    """
    rank = math.floor((len(true_probabilities) + 1) * (1 - coverage) + 1e-9)  # the threshold is the rank-th smallest
    return float(np.sort(true_probabilities)[rank - 1]) if rank >= 1 else 0.0


def calibration_error(confidences: np.ndarray, correct: np.ndarray, *, bins: int = 15) -> float:
    """Returns the mean gap between confidence and accuracy over bins of equal width, weighted by the images per bin.

    Reference: expected calibration error, Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    places = np.minimum((confidences * bins).astype(int), bins - 1)
    gaps = np.bincount(places, weights=confidences - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidences))
