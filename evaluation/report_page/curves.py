"""Curves of a run's training, from `metrics.jsonl`."""

import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from semppl.evaluation.report_page import charts
from semppl.runs.files import read_json_lines

_MAX_POINTS = 250  # of a curve
_SHARES = ("accuracy", "coverage", "confidence", "with_semantic_positive", "agreement")
_LOSSES = ("loss", "contrastive", "invariance")

Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def read_curves(workdir: str | pathlib.Path) -> Curves:
    """Reads the steps `[n]` and values `[n]` of each number that a run has reported; empty without reports."""
    found: dict[str, list[tuple[int, float]]] = {}
    for entry in read_json_lines(pathlib.Path(workdir) / "metrics.jsonl"):
        try:
            step = int(entry.pop("step"))
        except (ValueError, KeyError):
            continue
        for name, value in entry.items():
            found.setdefault(name, []).append((step, float(value)))
    return {
        name: (np.array([step for step, _ in points]), np.array([value for _, value in points]))
        for name, points in found.items()
    }


def curve_charts(curves: Curves) -> list[tuple[str, str]]:
    """Returns a caption and a chart for the losses, for accuracies and coverage of pseudo-labels, and for the embeddings."""
    losses = _chosen(curves, lambda name: name.split("/")[-1].startswith(_LOSSES))
    shares = _chosen(curves, lambda name: name.split("/")[-1].endswith(_SHARES))
    spread = _chosen(curves, lambda name: name in ("embedding_spread", "spread"))
    drawn = []
    if losses:
        drawn.append(("Losses in nats.", charts.lines(losses, title="Losses over the steps", label="loss")))
    if shares:
        caption = "Accuracy and coverage of the pseudo-labels, and other shares, of the pictures of each reported step."
        title = "Accuracies and pseudo-labels over the steps"
        drawn.append((caption, charts.lines(shares, title=title, label="share", share=True)))
    if spread:
        caption = "Spread of the embeddings: near 1 while these differ, 0 when all are one point."
        title = "Spread of the embeddings over the steps"
        drawn.append((caption, charts.lines(spread, title=title, label="spread", share=True)))
    return drawn


def _chosen(curves: Curves, wanted: Callable[[str], bool]) -> Curves:
    return {name.replace("_", " "): thinned(*curve) for name, curve in curves.items() if wanted(name)}


def thinned(steps: np.ndarray, values: np.ndarray, most: int = _MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Averages the points of a curve in at most `most` groups of neighbours."""
    parts = min(len(steps), most)
    if parts == len(steps):
        return steps, values
    groups: Iterable[np.ndarray] = np.array_split(np.arange(len(steps)), parts)
    rows = list(groups)
    return np.array([steps[row].mean() for row in rows]), np.array([values[row].mean() for row in rows])
