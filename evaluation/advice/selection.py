"""The choice of pictures to label next: typical, covering or uncertain ones."""

import numpy as np

from semppl.data.images import NO_LABEL
from semppl.evaluation.advice.coverage import covered_share, covering_radius, covering_rows
from semppl.evaluation.advice.typicality import typical_rows
from semppl.evaluation.advice.uncertainty import uncertain_rows

AUTO, TYPICAL, COVERAGE, UNCERTAIN = "auto", "typical", "coverage", "uncertain"
STRATEGIES = (AUTO, TYPICAL, COVERAGE, UNCERTAIN)

_ENOUGH_LABELS = 10  # of each class
_ENOUGH_COVERAGE = 0.5


def suggest_rows(
    features: np.ndarray, labels: np.ndarray, num_classes: int, count: int, *, strategy: str = AUTO, seed: int = 0
) -> tuple[np.ndarray, str]:
    """Chooses pictures to label next.

    Args:
        features: `[n, D]` features of any norm.
        labels: Integers `[n]` in 0..num_classes - 1; NO_LABEL where unknown.
        num_classes: Number of classes that are known by name; 0 if none is.
        count: Number of pictures to choose.
        strategy: One of `STRATEGIES`. With "auto": "typical", until every class has ten labels, or more than half of the
            pictures have a labelled one within the radius of "coverage"; then "uncertain".
        seed: Seed of k-means.

    Returns:
        Rows `[count]` without a label, the first to label first; and the reason of the choice, in words.

    Raises:
        ValueError: If there are fewer pictures without a label, or the strategy needs labels of two classes.
    """
    free = int(np.sum(labels == NO_LABEL))
    if not 1 <= count <= free:
        raise ValueError(f"--count must be in 1..{free}, the number of pictures without a label. Received: {count}")
    counts = np.bincount(labels[labels != NO_LABEL], minlength=num_classes)
    if strategy == UNCERTAIN and np.sum(counts > 0) < 2:
        raise ValueError(
            f"--choose must be {TYPICAL} or {COVERAGE} while fewer than two classes have labels. Received: {strategy}"
        )
    radius = 0.0
    why = f"--choose={strategy}"
    if strategy == COVERAGE or (strategy == AUTO and np.sum(counts > 0) >= 2 and counts.min() < _ENOUGH_LABELS):
        radius = covering_radius(features, num_classes or count, seed=seed)
    if strategy == AUTO:
        strategy, why = _chosen(features, labels, counts, radius)
    if strategy == TYPICAL:
        return typical_rows(features, labels, count, seed=seed), f"typical and diverse pictures: {why}"
    if strategy == UNCERTAIN:
        return uncertain_rows(features, labels, count, seed=seed), f"uncertain and diverse pictures: {why}"
    rows = covering_rows(features, labels, count, radius=radius)
    return rows, f"pictures that cover most others within a radius of {radius:.2f}: {why}"


def _chosen(features: np.ndarray, labels: np.ndarray, counts: np.ndarray, radius: float) -> tuple[str, str]:
    """Returns the strategy for the labels that are there, and the reason."""
    if np.sum(counts > 0) < 2:
        return TYPICAL, "fewer than two classes have labels"
    if counts.min() >= _ENOUGH_LABELS:
        return UNCERTAIN, f"every class has at least {_ENOUGH_LABELS} labels"
    share = covered_share(features, labels, radius=radius)
    if share > _ENOUGH_COVERAGE:
        return UNCERTAIN, f"{share:.0%} of the pictures have a labelled one within {radius:.2f}"
    return TYPICAL, f"a class has fewer than {_ENOUGH_LABELS} labels, and the labels cover {share:.0%} of the pictures"
