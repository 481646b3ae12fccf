"""Flags of what a model's answers are calibrated for, in export and in updates of a memory."""

from typing import Any

from absl import flags

NAMES = ("target_risk", "risk_confidence", "target_coverage")

# Here, because two modules that define the same flag cannot be imported together.
flags.DEFINE_float(
    "target_risk",
    None,
    "Largest share of wrong answers among the answers; by default 0.05, and in an update of a memory that of the model.",
)
flags.DEFINE_float(
    "risk_confidence",
    None,
    "Confidence, in (0, 1), with which --target_risk is kept: that of the exact binomial (Clopper-Pearson) upper bound of the "
    "share of wrong answers; by default 0.9, and in an update of a memory that of the model.",
)
flags.DEFINE_float(
    "target_coverage", None, "Smallest share of pictures that are answered; set at most one of this and --target_risk."
)


def targets_from_flags() -> dict[str, Any]:
    """Returns the values of the flags that are set, by name."""
    return {name: flags.FLAGS[name].value for name in NAMES if flags.FLAGS[name].value is not None}
