"""Differences between methods, paired over seeds, and whether they are significant."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
MIN_SEEDS = 3
"""Seeds below which the spread of a difference is too uncertain for a statement."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean difference over seeds.

    Attributes:
        mean: Mean over the seeds of the first value minus the second.
        low: Lower end of the confidence interval of the mean; NaN with fewer than MIN_SEEDS seeds.
        high: Upper end; NaN with fewer than MIN_SEEDS seeds.
        seeds: Number of seeds that both have.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def significant(self) -> bool:
        """Whether the confidence interval is on one side of 0; false where there is none."""
        return self.low > 0 or self.high < 0


def false_positives(tested: int) -> float:
    """Returns how many of so many tested differences are expected to be significant if no method differs from another."""
    return (1 - CONFIDENCE) * tested


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float], *, confidence: float = CONFIDENCE
) -> Difference | None:
    """Computes the mean difference of two methods, with the confidence interval of the paired t test.

    The runs of one seed share their labelled images, whose choice moves all methods alike; differences within a seed are free
    of that. With n seeds, mean d̄ and standard deviation s of the differences, the interval is d̄ ± t · s / √n, where t is the
    quantile of Student's distribution with n − 1 degrees of freedom.

    Args:
        first: Value by seed.
        second: Value by seed; seeds that only one of the two has are left out.
        confidence: Probability that the interval contains the difference over all seeds, in (0, 1).

    Returns:
        The difference; None without a common seed.

    Reference: Student 1908, The probable error of a mean.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    differences = np.array([first[seed] - second[seed] for seed in seeds])
    mean, count = float(differences.mean()), len(seeds)
    if count < MIN_SEEDS:
        return Difference(mean, math.nan, math.nan, count)
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1) * differences.std(ddof=1) / math.sqrt(count))
    return Difference(mean, mean - half, mean + half, count)
