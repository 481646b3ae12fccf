r"""Draws the figures of docs/results.md from the logs of runs, and prints its tables.

    python -m semppl.benchmarks.small_budget.figures --figures_folder=docs/images

Figures, of CIFAR-10 and Fashion-MNIST where there are logs: accuracy, and accuracy and coverage of the pseudo-labels, against
minutes on one core; accuracy against the number of labels, where there are several. Lines are means over seeds, bands go from the
lowest to the highest seed.
"""

import itertools
import json
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from absl import app, flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semppl.benchmarks.small_budget.collect import name_of_data
from semppl.programs import quiet
from semppl.runs.folder import make_writable_folder

_HERE = pathlib.Path(__file__).parent
_LOGS = flags.DEFINE_string("read_logs_of", str(_HERE / "logs"), "Folder of the logs that `collect` writes.")
_OUT = flags.DEFINE_string("figures_folder", "docs/images", "Folder of the figures.")

DATA = {"cifar10": "CIFAR-10", "fashion_mnist": "Fashion-MNIST"}
TIMED = {"cifar10": 50, "fashion_mnist": 10}
"""Labels per class of the runs whose curves are drawn against minutes."""

_KEYS = {"data", "method", "labels_per_class", "seed", "steps", "accuracy", "curve"}

METHODS = {
    "semppl": ("SemPPL", "#d1495b"),
    "simclr": ("SimCLR", "#2a9d6f"),
    "byol": ("BYOL", "#4a7fc1"),
    "relicv2": ("ReLICv2", "#b8860b"),
    "fixmatch": ("FixMatch", "#8b5fbf"),
    "simmatch": ("SimMatch", "#00889a"),
    "paws": ("PAWS", "#7f6000"),
    "no semantic positives": ("the same loop without semantic positives", "#e8a0a8"),
    "supervised": ("the labels alone", "#555555"),
    "semppl heads": ("SemPPL heads on MobileNetV2", "#c76b1e"),
    "semppl nothing": ("frozen MobileNetV2", "#999999"),
}
"""Name and colour of each method, in the order of tables."""

_STYLE = {"svg.hashsalt": "semppl", "font.size": 9, "svg.fonttype": "none", "font.family": "sans-serif"}

Log = dict[str, Any]


class Curve(NamedTuple):
    """Values over time or over numbers of labels.

    Attributes:
        places: Positions on the axis, ascending.
        values: At each position, the values of the seeds.
    """

    places: list[float]
    values: list[list[float]]


def read_logs(folder: pathlib.Path) -> list[Log]:
    """Reads all logs, by file name.

    Raises:
        ValueError: If a file is no log; the message names it.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            log = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            log = None
        if not isinstance(log, dict) or not log.keys() >= _KEYS:
            raise ValueError(
                f"--read_logs_of must hold logs that `collect` has written, and no other JSON file. Received: {path}"
            )
        found.append(log)
    return found


def accuracy_of(log: Log, classifier: str = "logistic_regression") -> float:
    """Returns the accuracy of a classifier on projections, or features of frozen encoders; without these, of a run's own."""
    accuracy = log["accuracy"]
    if "projections" in accuracy and not log["method"].endswith("nothing"):
        return float(accuracy["projections"][classifier])
    return float(accuracy["classifier"]["own"] if "classifier" in accuracy else accuracy["features"][classifier])


def over_time(logs: Sequence[Log], name: str, seconds: float) -> Curve:
    """Returns a column of the curves of runs of one method, at all seeds, against minutes on one core.

    A seed without a value at a step that another seed has is interpolated; no seed is extrapolated.

    Args:
        logs: Logs of one method.
        name: Name of the column.
        seconds: Core-seconds a step.
    """
    curves = [[(row["step"], row[name]) for row in log["curve"] if name in row] for log in logs]
    if not all(curves):
        return Curve([], [])
    first, last = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    steps = sorted({step for curve in curves for step, _ in curve if first <= step <= last})
    parts = [([step for step, _ in curve], [value for _, value in curve]) for curve in curves]
    values = [[float(np.interp(step, *part)) for part in parts] for step in steps]
    return Curve([step * seconds / 60 for step in steps], values)


def over_labels(logs: Iterable[Log], classifier: str = "logistic_regression") -> Curve:
    """Returns the final accuracy of runs of one method against the number of labels per class."""
    places: dict[int, list[float]] = {}
    for log in logs:
        places.setdefault(log["labels_per_class"], []).append(accuracy_of(log, classifier))
    return Curve([float(place) for place in sorted(places)], [places[place] for place in sorted(places)])


def draw(axes: Axes, curve: Curve, method: str, **style: Any) -> None:
    """Draws the mean of a curve, and a band over seeds."""
    title, colour = METHODS[method]
    means = [statistics.fmean(values) for values in curve.values]
    axes.plot(curve.places, means, color=colour, label=title, **style)
    low, high = [min(values) for values in curve.values], [max(values) for values in curve.values]
    axes.fill_between(curve.places, low, high, color=colour, alpha=0.15, linewidth=0)


def by_method(logs: Sequence[Log], data: str, labels_per_class: int | None = None) -> dict[str, list[Log]]:
    """Groups the logs of a data set by method, in the order of METHODS."""
    fitting = [
        log for log in logs if name_of_data(log["data"]) == data and labels_per_class in (None, log["labels_per_class"])
    ]
    unknown = sorted({log["method"] for log in fitting} - set(METHODS))
    if unknown:
        raise ValueError(f"--read_logs_of must hold logs of {', '.join(METHODS)}. Received: {', '.join(unknown)}")
    groups = {method: [log for log in fitting if log["method"] == method] for method in METHODS}
    return {method: group for method, group in groups.items() if group}


def figure_of_time(groups: Mapping[str, Sequence[Log]], rates: Mapping[str, float], title: str) -> Figure:
    """Draws held-out accuracy, and accuracy and coverage of the pseudo-labels, against minutes.

    Args:
        groups: Logs by method.
        rates: Core-seconds a step, by method.
        title: Title of the figure.
    """
    columns = {
        "held_out_accuracy": "held-out accuracy",
        "pseudo_label_accuracy": "accuracy of pseudo-labels",
        "pseudo_label_coverage": "coverage of pseudo-labels",
    }
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(columns)), columns.items(), strict=True):
        for method, logs in groups.items():
            curve = over_time(logs, name, rates[method]) if method not in _UNTIMED else Curve([], [])
            if curve.places:
                draw(axes, curve, method)
        _finish(axes, "minutes on one core", label)
    figure.suptitle(title)
    figure.legend(*_legend(figure), loc="outside lower center", ncols=len(groups), frameon=False)
    return figure


_UNTIMED = ("semppl heads", "semppl nothing")
"""Methods that train no encoder, whose time is not that of the others."""


def minutes_of(groups: Mapping[str, Sequence[Log]], rates: Mapping[str, float]) -> float:
    """Returns the median of the minutes on one core that runs take.

    Args:
        groups: Logs by method.
        rates: Core-seconds a step, by method.

    Raises:
        ValueError: If a method has no rate, or a run takes over 5 % more or less.
    """
    timed = {method: logs for method, logs in groups.items() if method not in _UNTIMED}
    missing = [method for method in timed if method not in rates]
    if missing:
        allowed = "methods with a rate; run semppl.benchmarks.small_budget.rates for the others"
        raise ValueError(f"--read_logs_of must hold logs of {allowed}. Received: {', '.join(missing)}")
    minutes = [(method, log["steps"] * rates[method] / 60) for method, logs in timed.items() for log in logs]
    middle = statistics.median(value for _, value in minutes)
    others = dict.fromkeys(f"{method}: {value:.2f}" for method, value in minutes if abs(value / middle - 1) > 0.05)
    if others:
        raise ValueError(
            f"--read_logs_of must hold runs of {middle:.2f} minutes, within 5 %. Received: {', '.join(others)}"
        )
    return middle


def figure_of_labels(groups: Mapping[str, Sequence[Log]], title: str) -> Figure:
    """Draws final accuracy against the number of labels per class."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for method, logs in groups.items():
        draw(axes, over_labels(logs), method, marker="o", markersize=4)
    axes.set_xscale("log")
    places = sorted({log["labels_per_class"] for logs in groups.values() for log in logs})
    axes.set_xticks(places, [str(place) for place in places])
    axes.minorticks_off()
    _finish(axes, "labels per class", "accuracy")
    figure.suptitle(title)
    figure.legend(*_legend(figure), loc="outside right", frameon=False)
    return figure


def _legend(figure: Figure) -> tuple[list[Any], list[str]]:
    """Returns one handle and label for each method in any panel."""
    found = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    return list(found.values()), list(found)


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def table(groups: Mapping[str, Sequence[Log]]) -> str:
    """Returns a Markdown table: accuracy of each method at each number of labels per class, mean (lowest–highest seed)."""
    budgets = sorted({log["labels_per_class"] for logs in groups.values() for log in logs})
    head = [f"{budget} per class" for budget in budgets]
    lines = [f"| logistic regression, or own classifier | {' | '.join(head)} |", "|---" * (1 + len(budgets)) + "|"]
    for method, logs in groups.items():
        curve = over_labels(logs)
        cells = dict(zip(curve.places, map(cell, curve.values), strict=True))
        lines.append(f"| {METHODS[method][0]} | {' | '.join(cells.get(budget, '') for budget in budgets)} |")
    return "\n".join(lines)


def cell(values: Sequence[float]) -> str:
    """Writes the mean of seeds, with the lowest and the highest if there are several."""
    spread = f" ({min(values):.3f}–{max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


@quiet.program
def main(argv: list[str]) -> int:
    """Writes `small_budget_….svg` and prints the tables."""
    del argv
    logs, out = read_logs(pathlib.Path(_LOGS.value)), pathlib.Path(_OUT.value)
    make_writable_folder(out, "figures_folder")
    if not any(by_method(logs, data) for data in DATA):
        raise ValueError(f"--read_logs_of must hold logs of {' or '.join(DATA)}. Received: {_LOGS.value}, without any")
    rates = json.loads((_HERE / "rates.json").read_text(encoding="utf-8"))
    for data, title in DATA.items():
        groups = by_method(logs, data)
        if not groups:
            continue
        print(f"{title}\n\n{table(groups)}\n")
        budget = TIMED[data]
        timed = by_method(logs, data, budget)
        seconds = {name.replace("_", " "): value for name, value in rates.get(data, {}).items()}  # as in logs
        minutes = minutes_of(groups, seconds)
        with mpl.rc_context(_STYLE):
            figures = {
                "minutes": figure_of_time(timed, seconds, f"{title}, {budget} labels per class"),
            }
            if len({log["labels_per_class"] for log in itertools.chain(*groups.values())}) > 1:
                words = f"{minutes:.0f}" if minutes >= 10 else f"{minutes:.1f}"
                figures["labels"] = figure_of_labels(groups, f"{title}, {words} minutes on one core")
            for name, figure in figures.items():
                figure.savefig(out / f"small_budget_{data}_{name}.svg", metadata={"Date": None, "Creator": None})
    return 0


if __name__ == "__main__":
    app.run(main)
