"""Calibration of a labelled memory: temperature, threshold and prediction sets, fitted on images that do not vote."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import special

CALIBRATION_SETS = ("held_out", "memory", "nothing")

NEVER = 2.0
"""A threshold that no probability reaches."""

_COLDEST, _WARMEST = 0.005, 2.0
_POINTS = 25
_ROWS = 256
_ROUNDING = 1e-6  # of a probability in float32
_LOGIT_ROUNDING = 1e-4  # of similarities that are divided by a low temperature


@dataclasses.dataclass(frozen=True)
class CalibrationSettings:
    """What a memory is calibrated on, and what for.

    Attributes:
        calibrate_on: One of `CALIBRATION_SETS`. With held_out, one half of the held-out images is fitted and the other half
            is measured; with memory, the labelled images are fitted, each by the votes of the others, and all held-out
            images are measured; with nothing, nothing is fitted and the model never abstains.
        target_risk: Largest share of wrong answers among the answers, in `[0, 1)`; 0 if `target_coverage` is set.
        target_coverage: Share of images that are answered, in `[0, 1)`; 0 if `target_risk` is set.
        set_coverage: Share of prediction sets that contain the true class, in `(0, 1)`.
        risk_confidence: Confidence, in `(0, 1)`, of the upper bound of the risk that must not exceed `target_risk`.

    Raises:
        ValueError: if a value is out of range, or not exactly one of the two targets is set.
    """

    calibrate_on: str = "held_out"
    target_risk: float = 0.05
    target_coverage: float = 0.0
    set_coverage: float = 0.9
    risk_confidence: float = 0.9

    def __post_init__(self) -> None:
        if self.calibrate_on not in CALIBRATION_SETS:
            allowed = ", ".join(CALIBRATION_SETS)
            raise ValueError(f"--calibrate_on must be one of {allowed}. Received: {self.calibrate_on}")
        for name in ("target_risk", "target_coverage", "set_coverage", "risk_confidence"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name} must be in 0..1, below 1. Received: {getattr(self, name)}")
        for name in ("set_coverage", "risk_confidence"):
            if not getattr(self, name):
                raise ValueError(f"--{name} must be above 0. Received: 0.0")
        if (self.target_risk > 0) == (self.target_coverage > 0):
            received = f"--target_risk={self.target_risk} --target_coverage={self.target_coverage}"
            raise ValueError(
                f"Exactly one of --target_risk and --target_coverage must be positive. Received: {received}"
            )

    def replaced(self, values: Mapping[str, Any]) -> "CalibrationSettings":
        """Returns these settings with other values, by name; a new target takes the place of the old one.

        Raises:
            ValueError: If a value is not allowed, or has no effect.
        """
        targets = {name for name in ("target_risk", "target_coverage") if values.get(name) is not None}
        replaced_target = {"target_risk": 0.0, "target_coverage": 0.0} if len(targets) == 1 else {}
        new = dataclasses.replace(self, **(replaced_target | dict(values)))
        aims = [f"--{name}={value}" for name, value in values.items() if name != "calibrate_on"]
        if aims and new.calibrate_on == "nothing":
            raise ValueError(f"{aims[0]} must come with something to calibrate on. Received: --calibrate_on=nothing")
        if "risk_confidence" in values and new.target_coverage:
            raise ValueError(
                f"--risk_confidence must come with --target_risk. Received: --target_coverage={new.target_coverage}"
            )
        return new


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


def abstention_threshold(confidences: np.ndarray, correct: np.ndarray, settings: CalibrationSettings) -> float:
    """Finds the probability below which a model abstains, with a margin for rounding.

    Args:
        confidences: `[n]` probabilities of the predicted classes, in 0..1.
        correct: bool `[n]`, true where the prediction is right.
        settings: Target risk and its confidence, or target coverage.
    """
    if settings.target_risk:
        threshold = threshold_for_risk(confidences, correct, settings.target_risk, certainty=settings.risk_confidence)
    else:
        threshold = threshold_for_coverage(confidences, settings.target_coverage)
    return threshold if threshold == NEVER else float(lowered(threshold))


def threshold_for_risk(confidences: np.ndarray, correct: np.ndarray, risk: float, *, certainty: float) -> float:
    """Finds the lowest threshold at which an upper confidence bound of the share of wrong answers is at most `risk`.

    The bound is that of each threshold by itself. The threshold is the most favourable of all, which matters where the risk
    hardly depends on the confidence: the true risk is then above `risk` more often than in a share `1 - certainty` of draws.

    Args:
        confidences: `[n]` probabilities of the predicted classes, in 0..1.
        correct: bool `[n]`, true where the prediction is right.
        risk: Largest share of wrong answers, in 0..1.
        certainty: Confidence of the bound, in (0, 1).

    Returns:
        The threshold; `NEVER` if no threshold has so small a bound.

    Reference: Geifman & El-Yaniv 2017, arXiv 1705.08500, lemma 3.1, without the union bound of their search.
    """
    order = np.argsort(-confidences, kind="stable")
    answers = np.arange(1, len(order) + 1)
    falling = confidences[order]
    whole = np.append(falling[1:] < lowered(falling[:-1]), True)  # confidences equal but for rounding go together
    allowed = np.flatnonzero((risk_bound(np.cumsum(~correct[order]), answers, certainty) <= risk) & whole)
    return float(falling[allowed[-1]]) if len(allowed) else NEVER


def risk_bound(wrong: np.ndarray, answers: np.ndarray, certainty: float) -> np.ndarray:
    """Computes the one-sided upper confidence bound of a binomial proportion.

    Args:
        wrong: Integers `[n]`, numbers of wrong answers, in 0..answers.
        answers: Integers `[n]`, numbers of answers, 1 or more.
        certainty: Confidence, in (0, 1).

    Returns:
        `[n]`: the largest proportion at which so few wrong answers have a probability of at least `1 - certainty`.

    Reference: Clopper & Pearson 1934, Biometrika 26.
    """
    right = answers - wrong
    bound: np.ndarray = np.where(right > 0, special.betaincinv(wrong + 1, np.maximum(right, 1), certainty), 1.0)
    return bound


def fewest_answers(risk: float, certainty: float) -> int:
    """Returns the number of answers, all of them right, from which the bound of `risk_bound` is at most `risk`, in (0, 1)."""
    return math.ceil(math.log1p(-certainty) / math.log1p(-risk) - 1e-9)


def lowered(probabilities: np.ndarray | float) -> Any:
    """Lowers probabilities, `[n]` or one, in 0..1, by a margin for rounding, so that one computed otherwise is not below."""
    margin = _ROUNDING + _LOGIT_ROUNDING * probabilities * (1 - probabilities)
    return np.maximum(probabilities - margin, 0.0)


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
