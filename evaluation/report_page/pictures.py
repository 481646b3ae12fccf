"""Pictures on a report: neighbours of queries, hardest pictures, suspicious labels."""

from collections.abc import Iterator

import numpy as np

from semppl.data.images import NO_LABEL
from semppl.data.thumbnails import thumbnail_urls
from semppl.evaluation.report_page import choice
from semppl.evaluation.report_page.judged import Judged, Pictures
from semppl.programs.pages.html_page import as_text

_QUERIES = 12
_NEIGHBOURS = 5
_SHOWN = 24  # hardest or suspicious pictures

STYLE = """
.near { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: .3em; max-width: 44em; margin: 0 0 .9em; }
.many { display: grid; grid-template-columns: repeat(auto-fill, minmax(110px, 1fr)); gap: .6em; }
.shot { margin: 0; min-width: 0; font-size: 12px; line-height: 1.3; overflow-wrap: anywhere; break-inside: avoid; }
.shot img { width: 100%; max-width: 128px; aspect-ratio: 1; object-fit: contain; background: var(--soft);
  border: 3px solid transparent; box-sizing: border-box; display: block; }
.shot.right img { border-color: var(--right); } .shot.wrong img { border-color: var(--wrong); }
.shot.right b { color: var(--right); } .shot.wrong b { color: var(--wrong); }
.shot small { color: var(--quiet); display: block; font-size: 11px; }
.near > :first-child { border-right: 1px solid var(--line); padding-right: .3em; } .near { break-inside: avoid; }
"""


def neighbours_section(judged: Judged) -> str:
    """Shows judged pictures, each with the five most similar labelled training pictures."""
    if not len(judged.labelled) or not len(judged.judged) or judged.predictions is None:
        return "<p>There are no labelled training pictures to look among.</p>"
    labels = judged.judged.labels
    rows = choice.queries(labels, judged.predictions.classes, _QUERIES)
    near = choice.nearest_rows(judged.judged.embeddings[rows], judged.labelled.embeddings, _NEIGHBOURS)
    of_queries = thumbnail_urls(judged.judged.images, rows)
    of_neighbours = thumbnail_urls(judged.labelled.images, near.reshape(-1))
    shown = ""
    for row, others in zip(rows.tolist(), near.tolist(), strict=True):
        truth = int(labels[row])
        cells = _prediction(judged, row, next(of_queries))
        for other in others:
            label = int(judged.labelled.labels[other])
            mark = _mark(None if truth == NO_LABEL else label == truth)
            cells += _shot(next(of_neighbours), mark, judged.class_name(label), judged.labelled.name(other))
        shown += f'<div class="near">{cells}</div>'
    return (
        "<p>Left, a judged picture with its predicted class; then the most similar labelled training pictures with their "
        f"labels. ✓ and ✗ say whether a class is the true one of the judged picture.</p>{shown}"
    )


def hardest_section(judged: Judged) -> str:
    """Shows the judged pictures whose true class is least probable."""
    if judged.predictions is None or not len(judged.known):
        return "<p>No true class of a judged picture is known.</p>"
    rows = choice.hardest(judged.predictions.of_truth)[:_SHOWN]
    shots = _shots(judged.judged, rows)
    return (
        "<p>The judged pictures whose true class is least probable: hard, or labelled wrongly.</p>"
        f'<div class="many">{"".join(_prediction(judged, row, url, truth=True) for row, url in shots)}</div>'
    )


def suspicious_section(judged: Judged) -> str:
    """Shows the labelled training pictures whose label the most similar other ones contradict."""
    if len(judged.labelled) < 2:
        return "<p>There are not two labelled training pictures to compare.</p>"
    found = choice.suspicious(judged.labelled.embeddings, judged.labelled.labels)
    if not len(found.rows):
        return "<p>No label of a training picture is contradicted by the vote of the other labelled pictures.</p>"
    shown = ""
    for place, (row, url) in enumerate(_shots(judged.labelled, found.rows[:_SHOWN])):
        given = judged.class_name(int(judged.labelled.labels[row]))
        line = f"{given} → {judged.class_name(int(found.classes[place]))}"
        shown += _shot(url, "", line, judged.labelled.name(row), more=f"margin {found.margins[place]:.2f}")
    return (
        "<p>Labelled training pictures whose label has fewer votes of the most similar other labelled pictures than another class "
        f"has, with label → that class; {len(found.rows)} in all. Training has seen these labels, so that some wrong ones are not "
        f'found; semppl-suspects looks further.</p><div class="many">{shown}</div>'
    )


def _prediction(judged: Judged, row: int, url: str, *, truth: bool = False) -> str:
    """Shows a judged picture with its predicted class and confidence."""
    predictions, label = judged.predictions, int(judged.judged.labels[row])
    if predictions is None:
        return _shot(url, "", "", judged.judged.name(row))
    predicted = int(predictions.classes[row])
    mark = _mark(None if label == NO_LABEL else label == predicted)
    line = judged.class_name(predicted)
    more = f"{predictions.confidence[row]:.2f}"
    if truth and label != predicted:
        more += f"; true: {judged.class_name(label)}, {predictions.of_truth[row]:.3f}"
    return _shot(url, mark, line, judged.judged.name(row), more=more)


def _shots(pictures: Pictures, rows: np.ndarray) -> Iterator[tuple[int, str]]:
    return zip(rows.tolist(), thumbnail_urls(pictures.images, rows, side=128), strict=True)


def _mark(right: bool | None) -> str:
    return "" if right is None else "right" if right else "wrong"


def _shot(url: str, mark: str, line: str, name: str, *, more: str = "") -> str:
    """Formats one picture with a line of text; the path shows on hover."""
    sign = {"right": "<b>✓</b> ", "wrong": "<b>✗</b> "}.get(mark, "")
    small = f"<small>{as_text(more)}</small>" if more else ""
    caption = f"<figcaption>{sign}{as_text(line)}{small}</figcaption>"
    return f'<figure class="shot {mark}" title="{as_text(name)}"><img alt="" src="{url}">{caption}</figure>'
