"""The curve of a comparison: accuracy against the number of labels, with the range over seeds, as SVG."""

import io
import re
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from semppl.experiments.comparison.plan import METHODS, RAW_PIXELS, labels_in_words
from semppl.experiments.comparison.results import Row

_COLOURS = ("#888888", "#b8860b", "#4a7fc1", "#2a9d6f", "#d1495b", "#8b5fbf", "#00889a", "#c76b1e")
_DASHES = ("-", "--", "-.", ":")
_INK = "#010203"  # replaced by the colour of the page's text
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "semppl",  # equal files for equal results
    "font.family": "sans-serif",
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}


def colour_of(method: str) -> str:
    """Returns the colour of a method's line, the same in every figure."""
    return _COLOURS[_place(method) % len(_COLOURS)]


def dashes_of(method: str) -> str:
    """Returns the line style of a method; methods of the same colour differ in it."""
    return _DASHES[_place(method) // len(_COLOURS) % len(_DASHES)]


def limits_of(rows: Sequence[Row]) -> tuple[float, float]:
    """Returns the ends of an axis that holds all values, so that figures of different classifiers compare."""
    values = [value for row in rows for by_seed in row.values.values() for value in by_seed.values()] or [0.0, 1.0]
    margin = 0.05 * (max(values) - min(values)) or 0.05
    return min(values) - margin, max(values) + margin


def curve(rows: Sequence[Row], title: str, named: str, limits: tuple[float, float]) -> str:
    """Draws a line per row: the mean over seeds, with a band from the smallest to the largest value.

    Args:
        rows: Rows of one classifier.
        title: Heading.
        named: Description for readers who do not see the figure.
        limits: Ends of the axis of accuracy.

    Returns:
        An `<svg>` element, as wide as its container, whose text has the colour of the page's text.
    """
    budgets = sorted({budget for row in rows for budget in row.values})
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5, 3.6), layout="constrained")
        axes = figure.subplots()
        for row in rows:
            _draw(axes, row, budgets)
        axes.set_xticks(range(len(budgets)), [str(budget) if budget else labels_in_words(0) for budget in budgets])
        axes.set_xlim(-0.25, len(budgets) - 0.75)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(title=title, xlabel="labels per class" if any(budgets) else "", ylabel="accuracy", ylim=limits)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(file.getvalue(), named)


def _draw(axes: mpl.axes.Axes, row: Row, budgets: Sequence[int]) -> None:
    places = [place for place, budget in enumerate(budgets) if budget in row.values]
    values = [list(row.values[budgets[place]].values()) for place in places]
    means = [sum(found) / len(found) for found in values]
    low, high = [min(found) for found in values], [max(found) for found in values]
    colour = colour_of(row.method)
    axes.plot(places, means, marker="o", markersize=4, color=colour, linestyle=dashes_of(row.method))
    if len(places) > 1:
        axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
    else:  # a band needs two points
        axes.vlines(places, low, high, color=colour, alpha=0.5, linewidth=2)


def _place(method: str) -> int:
    return [RAW_PIXELS, *METHODS].index(method)


def _inline(svg: str, named: str) -> str:
    """Turns an SVG file into an element of a page."""
    element = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    return element.replace("<svg ", f'<svg role="img" aria-label="{named}" ', 1)
