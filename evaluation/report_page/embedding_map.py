"""A map of embeddings as points of a plane, with the picture of the point under the pointer."""

import colorsys
import json
import math

import numpy as np

from semppl.configs.wording import counted
from semppl.data.images import NO_LABEL
from semppl.data.thumbnails import sprite_url
from semppl.evaluation.report_page.charts import COLOURS
from semppl.evaluation.report_page.judged import Judged, Pictures
from semppl.programs.pages.html_page import as_text, printable

_MAX_LABELLED = 400
_MAX_JUDGED = 1_100
_SIDE = 64  # of a thumbnail, in pixels
_WIDTH, _HEIGHT, _EDGE = 640, 440, 12
_MAX_LEGEND = 30  # classes

STYLE = """
.map { position: relative; }
.map svg { width: 100%; height: auto; display: block; border: 1px solid var(--line); box-sizing: border-box; }
.map .wrong { stroke: var(--wrong); stroke-width: 2; } .map .train { stroke: currentColor; }
#tip { position: absolute; width: 168px; padding: .4em; background: Canvas; border: 1px solid var(--line); border-radius: .3em;
  font-size: 12px; line-height: 1.35; overflow-wrap: anywhere; pointer-events: none; }
#tip[hidden] { display: none; } #tip i { display: block; width: 64px; height: 64px; margin: 0 auto .3em; }
.legend { display: flex; flex-wrap: wrap; gap: .1em 1em; font-size: 13px; padding: 0; list-style: none; }
.legend li { overflow-wrap: anywhere; min-width: 0; }
.legend b { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .35em; }
@media print { #tip { display: none; } }
"""
_SCRIPT = """
const points = POINTS, columns = COLUMNS, sprites = document.querySelectorAll(".sprite");
const box = document.querySelector(".map"), tip = document.getElementById("tip"), picture = tip.querySelector("i");
function show(event) {
  const mark = event.target.closest("[data-p]");
  tip.hidden = !mark;
  if (!mark) return;
  const [sprite, place, lines] = points[mark.dataset.p], frame = box.getBoundingClientRect();
  picture.style.backgroundImage = `url(${sprites[sprite].src})`;
  picture.style.backgroundPosition = `-${place % columns[sprite] * SIDE}px -${Math.floor(place / columns[sprite]) * SIDE}px`;
  tip.querySelector("span").replaceChildren(...lines.flatMap(line => [line, document.createElement("br")]));
  const x = event.clientX - frame.left, y = event.clientY - frame.top;
  tip.style.left = Math.max(0, Math.min(x + 14, frame.width - tip.offsetWidth)) + "px";
  tip.style.top = (y + 14 + tip.offsetHeight > frame.height ? Math.max(0, y - tip.offsetHeight - 14) : y + 14) + "px";
}
for (const kind of ["pointermove", "pointerdown"]) box.addEventListener(kind, show);
box.addEventListener("pointerleave", () => { tip.hidden = true; });
"""


def embedding_map(judged: Judged) -> str:
    """Returns the map as HTML: labelled training pictures as squares, the judged pictures as circles."""
    labelled, others = _drawn(judged.labelled, _MAX_LABELLED), _drawn(judged.judged, _MAX_JUDGED)
    parts = [(judged.labelled, labelled), (judged.judged, others)]
    embeddings = [pictures.embeddings[rows] for pictures, rows in parts if len(rows)]
    points, explained = principal_plane(np.concatenate(embeddings))
    places = _on_page(points)
    sprites, marks = "", ""
    data: list[tuple[int, int, list[str]]] = []
    columns: list[int] = []
    for number, (pictures, rows) in enumerate((part, rows) for part, rows in parts if len(rows)):
        columns.append(math.ceil(math.sqrt(len(rows))))
        url = sprite_url(pictures.images, rows, side=_SIDE, columns=columns[-1])
        sprites += f'<img class="sprite" alt="" hidden src="{url}">'
        for place, row in enumerate(rows.tolist()):
            marks += _mark(judged, pictures, row, places[len(data)], len(data))
            data.append((number, place, _lines(judged, pictures, row)))
    script = _SCRIPT.replace("SIDE", str(_SIDE)).replace("COLUMNS", json.dumps(columns))
    script = script.replace("POINTS", json.dumps(data).replace("<", "\\u003c"))  # last: names are of any text
    shown = f"{len(others)} of {judged.judged.total}" if len(others) < judged.judged.total else "all"
    return (
        f"<p>First two principal components of the unit-norm embeddings, {explained:.0%} of the variance; {shown} judged and "
        f"{len(labelled)} of {judged.labelled.total} labelled training pictures, the squares. A red edge marks a "
        f"wrong prediction. Point at a mark, or tap it, to see the picture.</p>{_legend(judged)}"
        f'<div class="map"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Map of embeddings">{marks}</svg>'
        f'<div id="tip" hidden><i></i><span></span></div></div>{sprites}<script>{script}</script>'
    )


def principal_plane(embeddings: np.ndarray) -> tuple[np.ndarray, float]:
    """Projects unit-norm embeddings onto their first two principal components.

    Args:
        embeddings: `[n, D]` embeddings, of any norm, n ≥ 1.

    Returns:
        Points `[n, 2]`, zeros where there is no such component, and their share of the variance, in 0..1. The largest coordinate
        of each component is positive.
    """
    rows = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    left, lengths, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    points = np.zeros([len(rows), 2])
    kept = min(2, len(lengths))
    points[:, :kept] = left[:, :kept] * lengths[:kept]
    largest = points[np.abs(points).argmax(0), [0, 1]]
    total = float(np.square(lengths).sum())
    share = float(np.square(lengths[:2]).sum()) / total if total > 0 else 1.0
    return points * np.where(largest < 0, -1, 1), share


def _drawn(pictures: Pictures, most: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(len(pictures))[:most])


def _on_page(points: np.ndarray) -> np.ndarray:
    """Scales points `[n, 2]` to the size of the map."""
    low, high = points.min(0), points.max(0)
    spans = np.where(high > low, high - low, 1.0)
    middle = np.where(high > low, (points - low) / spans, 0.5)
    scaled: np.ndarray = _EDGE + middle * (np.array([_WIDTH, _HEIGHT]) - 2 * _EDGE)
    return scaled


def _mark(judged: Judged, pictures: Pictures, row: int, place: np.ndarray, number: int) -> str:
    label = int(pictures.labels[row])
    x, y = place
    if pictures is judged.labelled:
        fill = colour(label, len(judged.data.source.class_names))
        return f'<rect class="train" data-p="{number}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{fill}"/>'
    predicted = None if judged.predictions is None else int(judged.predictions.classes[row])
    shown = label if label != NO_LABEL else NO_LABEL if predicted is None else predicted
    kind = ' class="wrong"' if predicted is not None and label not in (NO_LABEL, predicted) else ""
    faint = ' fill-opacity=".45"' if label == NO_LABEL else ""
    fill = colour(shown, len(judged.data.source.class_names))
    return f'<circle{kind} data-p="{number}" cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}"{faint}/>'


def colour(label: int, num_classes: int) -> str:
    """Returns the colour of a class; grey for NO_LABEL."""
    if label == NO_LABEL:
        return "#888888"
    if num_classes <= len(COLOURS):
        return COLOURS[label]
    red, green, blue = colorsys.hls_to_rgb(label * 0.618034 % 1, 0.42 + 0.16 * (label % 2), 0.6)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _lines(judged: Judged, pictures: Pictures, row: int) -> list[str]:
    """Returns the lines of text beside the picture of a mark."""
    label = judged.class_name(int(pictures.labels[row]))
    lines = [pictures.name(row), label or "true class unknown"]
    if pictures is judged.labelled:
        return [printable(line) for line in (*lines, "labelled training picture")]
    if judged.predictions is not None:
        predicted = judged.class_name(int(judged.predictions.classes[row]))
        lines.append(f"predicted: {predicted}, {judged.predictions.confidence[row]:.2f}")
    return [printable(line) for line in lines]


def _legend(judged: Judged) -> str:
    names = judged.data.source.class_names
    if len(names) > _MAX_LEGEND:
        return f"<p>There is no legend for {counted(len(names), 'class')}.</p>"
    items = "".join(
        f'<li><b style="background: {colour(label, len(names))}"></b>{as_text(name)}</li>'
        for label, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'
