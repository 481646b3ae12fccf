"""Judgement of a labelled memory: measurements of its answers, and what a card and a program say about these."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from semppl.configs.wording import counted
from semppl.export.memory import calibration
from semppl.export.memory.answers import VOTE
from semppl.export.memory.calibration import Calibration, CalibrationSettings

HELD_OUT = "held-out"

_OTHER_RISKS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_OTHER_COVERAGES = (0.1, 0.3, 0.5)
_NONE = 0.0005  # coverage that is printed as 0.0%


class Judged(NamedTuple):
    """Answers to n images, with the ground truth.

    Attributes:
        probabilities: `[n, C]` class probabilities.
        confidences: `[n]` probabilities of the predicted classes.
        correct: bool `[n]`, true where the predicted class is right.
        true_probabilities: `[n]` probabilities of the true classes.
    """

    probabilities: np.ndarray
    confidences: np.ndarray
    correct: np.ndarray
    true_probabilities: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, truth: np.ndarray) -> "Judged":
        """Compares `[n, C]` probabilities with the ground truth `[n]`."""
        rows = np.arange(len(truth))
        return cls(probabilities, probabilities.max(1), probabilities.argmax(1) == truth, probabilities[rows, truth])


def measured(judged: Judged, fitted: Calibration) -> dict[str, float]:
    """Measures calibrated answers; returns an empty dictionary for no images."""
    if not len(judged.correct):
        return {}
    confidences, correct = judged.confidences, judged.correct
    sets = (judged.probabilities >= fitted.set_threshold) | (judged.probabilities == confidences[:, np.newaxis])
    covered = (judged.true_probabilities >= fitted.set_threshold) | (judged.true_probabilities == confidences)
    values = {
        "accuracy": np.mean(correct),
        "calibration_error": calibration.calibration_error(confidences, correct),
        "set_coverage": np.mean(covered),
        "set_size": np.mean(sets.sum(1)),
    }
    return {name: float(value) for name, value in values.items()} | answered(judged, fitted.threshold)


def answered(judged: Judged, threshold: float) -> dict[str, float]:
    """Returns the share of images that are answered (coverage), and the share of wrong answers among these (risk), if any."""
    answers = judged.confidences >= threshold
    risk = {"risk": float(np.mean(~judged.correct[answers]))} if answers.any() else {}
    return {"coverage": float(np.mean(answers))} | risk


def describe_abstention(
    report: dict[str, Any], calibrating: Judged, judged: Judged, settings: CalibrationSettings
) -> dict[str, str]:
    """Says in sentences how the abstention was chosen, and, if the model never answers, what would answer.

    Args:
        report: Report of `Evidence.build`.
        calibrating: Answers to the images on which the threshold was chosen.
        judged: Answers to the images that are measured; may be empty.
        settings: Calibration settings.

    Returns:
        "abstention" and, for a model that never answers, "warning"; nothing for a model that is not calibrated.
    """
    if not len(calibrating.correct):
        return {}
    images = f"{len(calibrating.correct)} {_calibrating(report)}"
    if settings.target_risk:
        rule = (
            f"Abstains below the lowest probability from which, with a confidence of {settings.risk_confidence:g}, at most "
            f"{settings.target_risk:.1%} of the answers are wrong: exact (Clopper-Pearson) upper bound on {images}."
        )
    else:
        rule = f"Abstains below the probability that {settings.target_coverage:.1%} of {images} reach."
    coverage = report["measured"].get("coverage", 0.0 if report["threshold"] == calibration.NEVER else 1.0)
    if coverage >= _NONE:
        return {"abstention": rule}
    return {"abstention": rule, "warning": _never_answers(images, calibrating, judged, settings)}


def _never_answers(images: str, calibrating: Judged, judged: Judged, settings: CalibrationSettings) -> str:
    line = "this model never answers"
    if settings.target_risk:
        fewest = calibration.fewest_answers(settings.target_risk, settings.risk_confidence)
        line += f": a risk of {settings.target_risk:g} with a confidence of {settings.risk_confidence:g} needs "
        line += f"{fewest} or more answers, all or nearly all right, and it was calibrated on {images}"
    on = judged if len(judged.correct) else calibrating
    for name, values in (("target_risk", _OTHER_RISKS), ("target_coverage", _OTHER_COVERAGES)):
        for value in values:
            aims: dict[str, Any] = {"target_risk": 0.0, "target_coverage": 0.0, name: value}
            other = dataclasses.replace(settings, **aims)
            threshold = calibration.abstention_threshold(calibrating.confidences, calibrating.correct, other)
            would = answered(on, threshold)
            if would["coverage"] >= _NONE:
                return f"{line}; with --{name}={value:g} it answers {would['coverage']:.1%}, {would['risk']:.1%} of those wrong"
    return line


def summary(report: dict[str, Any]) -> str:
    """Formats a report of `Evidence.build` as one line, and a second one with its warning, if any."""
    values = report["measured"]
    line = f"remembers {counted(report['labelled'], 'image')} of {counted(report['classes'], 'class')}"
    if report["answers"] != VOTE:
        line += f", answers by {report['answers'].replace('_', ' ')}"
    if not report["fitted_on"]:
        line += "; nothing to calibrate on: probabilities are not calibrated, and the model never abstains"
    if values:
        line += "; on " + counted(report["checked_on"], f"{report['held_out_images']} image")
        if report["fitted_on"]:
            line += f" (calibrated on {report['fitted_on']} {_calibrating(report, 'other ')})"
        line += f": accuracy {values['accuracy']:.3f}, answers {values['coverage']:.1%}"
    if "risk" in values:
        line += f" of them, {values['risk']:.1%} of those wrong"
    return line + (f"\nwarning: {report['warning']}" if "warning" in report else "")


def _calibrating(report: dict[str, Any], other: str = "") -> str:
    """Names the images on which a memory was calibrated."""
    on_memory = report["trust"]["calibrate_on"] == "memory"
    return "labelled training images" if on_memory else f"{other}{report['held_out_images']} images"
