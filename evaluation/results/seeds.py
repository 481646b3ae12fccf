"""Measures over several seeds: mean, spread and number."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semppl.evaluation.results.table import Measured


def over_seeds(metrics: Sequence[Mapping[str, Measured]]) -> dict[str, Any]:
    """Summarises measures over seeds.

    Args:
        metrics: For each seed, measure → representation → evaluator → value.

    Returns:
        Measure → representation → evaluator → "mean", "spread" (standard deviation with n - 1 in the denominator; 0 for one seed)
        and "n".
    """
    return {
        measure: {
            row: {column: _summary([each[measure][row][column] for each in metrics]) for column in columns}
            for row, columns in rows.items()
        }
        for measure, rows in metrics[0].items()
    }


def seed_lines(summaries: Mapping[str, Any], measure: str = "accuracy") -> list[str]:
    """Formats the summaries of `over_seeds` of one measure, a line for each representation."""
    lines = []
    for row, columns in summaries[measure].items():
        cells = (f"{column} {cell['mean']:.4f} ± {cell['spread']:.4f}" for column, cell in columns.items())
        lines.append(f"{row}: {', '.join(cells)}")
    count = next(cell["n"] for columns in summaries[measure].values() for cell in columns.values())
    return [f"{measure} over {count} seeds, mean ± standard deviation:", *lines]


def _summary(values: Sequence[float]) -> dict[str, float]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "spread": spread, "n": len(values)}
