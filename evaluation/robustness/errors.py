"""Mean corruption errors, relative to those of a baseline."""

from collections.abc import Mapping, Sequence

Errors = Mapping[str, Sequence[float]]
"""Corruption → error in 0..1 at each severity."""


def mean_corruption_error(errors: Errors, baseline: Errors) -> float | None:
    """Averages, over corruptions, the sum of the errors over severities, divided by the baseline's.

    Args:
        errors: Errors of a classifier, under the corruptions that are averaged.
        baseline: Errors of the baseline, under at least the same corruptions.

    Returns:
        1 for a classifier with the errors of the baseline, less for a better one. None if the baseline makes no error under
        one of the corruptions.

    Reference: Hendrycks & Dietterich 2019, arXiv 1903.12261, section 4.3 (mCE).
    """
    return _mean_ratio(errors, 0.0, baseline, 0.0)


def relative_mean_corruption_error(
    errors: Errors, clean: float, baseline: Errors, baseline_clean: float
) -> float | None:
    """Averages, over corruptions, the sum of the errors beyond the clean error, divided by the baseline's.

    Args:
        errors: Errors of a classifier, under the corruptions that are averaged.
        clean: Error without corruption.
        baseline: Errors of the baseline, under at least the same corruptions.
        baseline_clean: Error of the baseline without corruption.

    Returns:
        The mean; negative for a classifier that errs less under corruption. None if a corruption does not raise the errors
        of the baseline.

    Reference: Hendrycks & Dietterich 2019, arXiv 1903.12261, section 4.3 (relative mCE).
    """
    return _mean_ratio(errors, clean, baseline, baseline_clean)


def _mean_ratio(errors: Errors, clean: float, baseline: Errors, baseline_clean: float) -> float | None:
    ratios = []
    for name, values in errors.items():
        below = sum(value - baseline_clean for value in baseline[name])
        if below <= 0:
            return None
        ratios.append(sum(value - clean for value in values) / below)
    return sum(ratios) / len(ratios)
