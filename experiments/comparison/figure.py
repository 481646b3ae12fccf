"""The curve of a comparison: accuracy against the number of labels, with the range over seeds, as SVG."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from semppl.experiments.comparison.plan import labels_in_words
from semppl.experiments.comparison.results import Row

_COLOURS = ("#888888", "#b8860b", "#4a7fc1", "#2a9d6f", "#d1495b", "#8b5fbf", "#00889a", "#c76b1e")
_DASHES = ("solid", "dashed", "dotted")  # names of Matplotlib and of CSS
_INK = "#010203"  # replaced by the colour of the page's text
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "semppl",  # equal files for equal results
    "font.family": "sans-serif",
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}


class Line(NamedTuple):
    """How a method is drawn.

    Attributes:
        colour: Colour, as `#rrggbb`.
        dashes: "solid", "dashed" or "dotted".
    """

    colour: str
    dashes: str


def lines_of(methods: Sequence[str]) -> dict[str, Line]:
    """Returns the line of each method that a page shows: of 24 methods no two are alike, and the first eight are solid."""
    count = len(_COLOURS)
    return {
        method: Line(_COLOURS[place % count], _DASHES[place // count % len(_DASHES)])
        for place, method in enumerate(methods)
    }


def limits_of(rows: Sequence[Row]) -> tuple[float, float]:
    """Returns the ends of an axis that holds all values, so that figures of different classifiers compare."""
    values = [value for row in rows for by_seed in row.values.values() for value in by_seed.values()] or [0.0, 1.0]
    margin = 0.05 * (max(values) - min(values)) or 0.05
    return min(values) - margin, max(values) + margin


def curve(rows: Sequence[Row], title: str, named: str, limits: tuple[float, float], lines: Mapping[str, Line]) -> str:
    """Draws a line per row: the mean over seeds, with a band from the smallest to the largest value.

    Args:
        rows: Rows of one classifier.
        title: Heading.
        named: Description for readers who do not see the figure.
        limits: Ends of the axis of accuracy.
        lines: How each method is drawn.

    Returns:
        An `<svg>` element, as wide as its container, whose text has the colour of the page's text.
    """
    budgets = sorted({budget for row in rows for budget in row.values})
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5, 3.6), layout="constrained")
        axes = figure.subplots()
        for row in rows:
            _draw(axes, row, budgets, lines[row.method])
        axes.set_xticks(range(len(budgets)), [str(budget) if budget else labels_in_words(0) for budget in budgets])
        axes.set_xlim(-0.25, len(budgets) - 0.75)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(title=title, xlabel="labels per class" if any(budgets) else "", ylabel="accuracy", ylim=limits)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(file.getvalue(), named)


def _draw(axes: mpl.axes.Axes, row: Row, budgets: Sequence[int], line: Line) -> None:
    places = [place for place, budget in enumerate(budgets) if budget in row.values]
    values = [list(row.values[budgets[place]].values()) for place in places]
    means = [sum(found) / len(found) for found in values]
    low, high = [min(found) for found in values], [max(found) for found in values]
    axes.plot(places, means, marker="o", markersize=4, color=line.colour, linestyle=line.dashes)
    if len(places) > 1:
        axes.fill_between(places, low, high, color=line.colour, alpha=0.18, linewidth=0)
    else:  # a band needs two points
        axes.vlines(places, low, high, color=line.colour, alpha=0.5, linewidth=2)


def _inline(svg: str, named: str) -> str:
    """Turns an SVG file into an element of a page."""
    element = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    return element.replace("<svg ", f'<svg role="img" aria-label="{named}" ', 1)
