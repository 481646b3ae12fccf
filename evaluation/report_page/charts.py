"""Charts as SVG elements for a page: in the page's font and text colour, without a reference to another file."""

import io
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semppl.evaluation.results.calibration import BINS
from semppl.evaluation.results.reliability import Reliability
from semppl.programs.pages.html_page import as_text, printable

COLOURS = ("#4a7fc1", "#d9822b", "#3a9d5d", "#b5539c", "#8f7ae5", "#a08a2c", "#2c9fa0", "#c8534a", "#7d8794", "#6b8e23")
"""Colours that can be told apart on white and on black."""

_INK = "#010203"  # becomes the colour of the page's text
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
}
_MAX_NAMED = 30  # classes that a matrix has room to name
_MAX_COUNTED = 15  # classes whose counts fit into the cells
_LONGEST = 22  # characters of a class name on an axis


def lines(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], *, title: str, label: str, share: bool = False) -> str:
    """Draws curves over the steps of a run.

    Args:
        curves: Steps `[n]` and values `[n]`, by name.
        title: What is shown, for readers who hear the page.
        label: Label of the vertical axis.
        share: Whether the values are shares, in 0..1.
    """

    def draw(axes: Axes) -> None:
        for colour, (name, (steps, values)) in zip(COLOURS, curves.items(), strict=False):
            axes.plot(steps, values, color=colour, label=name, linewidth=1.6, marker="." if len(steps) < 3 else "")
        axes.set(xlabel="step", ylabel=label, **({"ylim": (0, 1.02)} if share else {}))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)

    return _svg(draw, title)


def reliability_diagram(bins: Reliability, title: str) -> str:
    """Draws the accuracy of each bin of confidences as a bar beside the diagonal, and the shares of predictions as a line."""

    def draw(axes: Axes) -> None:
        width = 1 / BINS
        axes.bar(bins.lower + width / 2, bins.accuracy, width * 0.92, color=COLOURS[0], label="accuracy")
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle="--", label="perfect calibration")
        shares = bins.counts / bins.counts.sum()
        axes.plot(bins.lower + width / 2, shares, color=COLOURS[1], marker=".", label="share of the pictures")
        axes.set(xlabel="confidence", ylabel="share", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)

    return _svg(draw, title)


def risk_coverage_curve(coverages: np.ndarray, risks: np.ndarray, title: str) -> str:
    """Draws the share of wrong answers `[n]` over the share of answered pictures `[n]`."""

    def draw(axes: Axes) -> None:
        axes.plot(coverages, risks, color=COLOURS[0], drawstyle="steps-pre", linewidth=1.6)
        axes.set(xlabel="coverage: share of the pictures that are answered", ylabel="risk: share of wrong answers")
        axes.set(xlim=(0, 1), ylim=(0, max(0.05, 1.1 * float(risks.max()))))

    return _svg(draw, title)


def confusion_chart(counts: np.ndarray, names: Sequence[str], title: str) -> str:
    """Draws a confusion matrix: rows are true classes, and colours are shares of the row.

    Args:
        counts: Integers `[C, C]`.
        names: Names of the classes; of more than 30, the axes have numbers.
        title: What is shown.
    """
    count = len(names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)

    def draw(axes: Axes) -> None:
        rgba = np.empty([count, count, 4])
        rgba[..., :3] = [int(COLOURS[0][at : at + 2], 16) / 255 for at in (1, 3, 5)]
        rgba[..., 3] = shares
        scale = 1 if count > _MAX_NAMED else 16  # browsers would blur the edges of few large cells
        axes.imshow(rgba.repeat(scale, 0).repeat(scale, 1), extent=(-0.5, count - 0.5, count - 0.5, -0.5))
        axes.set(xlabel="predicted class", ylabel="true class")
        if count <= _MAX_NAMED:
            short = [_short(name) for name in names]
            axes.set_xticks(range(count), short, rotation=90, parse_math=False)
            axes.set_yticks(range(count), short, parse_math=False)
        for row, column in np.argwhere(counts) if count <= _MAX_COUNTED else ():
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=9)

    side = 5.4 if count > 5 else 4.2
    return _svg(draw, title, size=(side, side))


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _svg(draw: Callable[[Axes], None], title: str, size: tuple[float, float] = (5.4, 3.4)) -> str:
    """Draws a figure of so many inches, and returns an `svg` element."""
    file = io.StringIO()
    with rc_context(_STYLE | {"svg.hashsalt": title}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _embeddable(file.getvalue(), title)


def _embeddable(svg: str, title: str) -> str:
    """Makes an SVG file an element of HTML: without header, metadata, names of formats, fixed size and names of parts."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    head, _, rest = svg.partition(">")
    box = re.search(r'viewBox="[^"]+"', head)
    rest = re.sub(r' id="[a-z_0-9.]+_\d+"', "", rest)
    rest = rest.replace(_INK, "currentColor").replace("xlink:href=", "href=")
    shown = as_text(title)
    return f'<svg class="chart" {box[0] if box else ""} role="img" aria-label="{shown}">{rest.strip()}'
