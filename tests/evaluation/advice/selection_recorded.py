"""Records what scikit-activeml's TypiClust and ProbCover choose, where that library is installed.

`python tests/evaluation/advice/selection_recorded.py` with scikit-activeml 0.6.2 and scikit-learn 1.9.1 wrote the file.
"""

import json
import pathlib
from typing import Any

import numpy as np

FILE = pathlib.Path(__file__).resolve().parents[2] / "goldens" / "selection.json"
SIZES = (64, 57, 50, 44, 42)
SPREADS = (0.1, 0.3)
DELTAS = tuple(0.1 + 0.05 * step for step in range(39))
STEPS = 12
CASES = tuple((seed, spread) for seed in (0, 1, 2) for spread in SPREADS)
_NEIGHBOURS = 20


def case(seed: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns unit-norm features `[257, 8]` of five groups of unequal sizes, and labels `[257]`: 4 of the last group, else -1."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(SIZES)), SIZES)
    rows = np.eye(8)[groups] + spread * rng.standard_normal((len(groups), 8))
    labels = np.where(np.arange(len(groups)) == len(groups) - 1, 4, -1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def _typical(seed: int, spread: float) -> list[int]:
    from skactiveml.pool import TypiClust

    features, labels = case(seed, spread)
    strategy = TypiClust(missing_label=-1, random_state=0, k=_NEIGHBOURS)
    return [int(row) for row in strategy.query(features, labels, batch_size=len(SIZES) - 1)]


def _covering(seed: int, spread: float) -> tuple[float, list[int]]:
    """Returns the radius, and the pictures that are chosen one by one; of equal ones the first."""
    from skactiveml.pool import ProbCover

    features, labels = case(seed, spread)
    strategy = ProbCover(n_classes=len(SIZES), deltas=list(DELTAS), missing_label=-1, random_state=0)
    chosen: list[int] = []
    for _ in range(STEPS):
        _, utilities = strategy.query(features, labels, batch_size=1, return_utilities=True)
        if np.nanmax(utilities[0]) == 0:  # all are covered, from where on that library chooses at random
            break
        chosen.append(int(np.nanargmax(utilities[0])))
        labels[chosen[-1]] = 0
    return float(strategy.delta_max_), chosen


def made() -> dict[str, Any]:
    """Returns all that is recorded."""
    found = {}
    for seed, spread in CASES:
        radius, covering = _covering(seed, spread)
        found[f"{seed} {spread}"] = {"typical": _typical(seed, spread), "radius": radius, "covering": covering}
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(made(), indent=1) + "\n", encoding="utf-8")
