"""The report of a run as one self-contained page of HTML."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from semppl.configs.wording import counted
from semppl.data.images import NO_LABEL
from semppl.evaluation.report_page import charts, curves, embedding_map, pictures, provenance
from semppl.evaluation.report_page.judged import Judged
from semppl.evaluation.results.calibration import (
    COVERAGES,
    area_under_risk_coverage,
    expected_calibration_error,
    risk_coverage,
    risks_at,
)
from semppl.evaluation.results.classes import confusion_counts
from semppl.evaluation.results.floors import majority_classes
from semppl.evaluation.results.measures import accuracy, balanced_accuracy
from semppl.evaluation.results.reliability import accuracy_interval, reliability
from semppl.programs.pages.html_page import as_text, document, table
from semppl.runs.folder import unfinished

_MAX_CONFUSIONS = 20
_OPEN_CLASSES = 40  # rows of the table of classes that are shown without a click
_ESTIMATED = "No true class of a judged picture is known, so that nothing is measured here."

_STYLE = (
    """
h2 { border-top: 1px solid var(--line); padding-top: .6em; margin-top: 1.6em; }
.lead { font-size: 1.25em; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26em), 1fr)); gap: 1em 2em; }
.charts > * { min-width: 0; } .charts figure { margin: 0; break-inside: avoid; } h1 { overflow-wrap: anywhere; }
 figcaption { font-size: 13px; }
svg.chart { width: 100%; max-width: 36em; height: auto; display: block; font-family: system-ui, sans-serif; }
nav { display: flex; flex-wrap: wrap; gap: .2em 1em; font-size: 14px; }
code.command { display: block; padding: .6em; white-space: pre-wrap; }
td { overflow-wrap: break-word; } td:nth-child(2):last-child { overflow-wrap: anywhere; }
summary { cursor: pointer; } .quiet { color: var(--quiet); }
@media (max-width: 600px) {
  body { margin: 1em auto; } td, th { padding: .2em .25em; font-size: 12px; } .map circle { r: 6px; }
}
@media print { nav { display: none; } body { max-width: none; margin: 0; } h2 { break-after: avoid; } table { display: table; }
  td, th { overflow-wrap: anywhere; } }
"""
    + embedding_map.STYLE
    + pictures.STYLE
)


def report_page(judged: Judged) -> str:
    """Returns the report of a run as HTML that needs no other file and no network.

    Args:
        judged: The run's pictures with embeddings and predicted classes.
    """
    sections = (
        ("summary", "Summary", _summary(judged)),
        ("data", "Data", _data_card(judged)),
        ("training", "Training", _curves(judged)),
        ("map", "Map of embeddings", embedding_map.embedding_map(judged)),
        ("neighbours", "Nearest neighbours", pictures.neighbours_section(judged)),
        ("confusion", "Confusion matrix", _confusion(judged)),
        ("classes", "Classes", _classes(judged)),
        ("confidence", "Confidence", _confidence(judged)),
        ("hardest", "Hardest pictures", pictures.hardest_section(judged)),
        ("suspicious", "Suspicious labels", pictures.suspicious_section(judged)),
        ("origin", "Command, versions, seeds and time", _origin(judged)),
    )
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    body = "\n".join(f'<h2 id="{key}">{title}</h2>\n{content}' for key, title, content in sections)
    title = f"Report: {judged.workdir.absolute().name or judged.workdir}"
    return document(title, f"<nav>{links}</nav>\n{body}", style=_STYLE)


def _truth(judged: Judged) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Returns labels, predicted classes and confidences of the judged pictures with a label; None if nothing is measured."""
    if judged.predictions is None or not len(judged.known):
        return None
    known = judged.known
    return judged.judged.labels[known], judged.predictions.classes[known], judged.predictions.confidence[known]


def _summary(judged: Judged) -> str:
    found = _truth(judged)
    settings = judged.hyperparameters
    state = unfinished(judged.workdir, judged.step, settings.steps)
    text = f"<p>Checkpoint at step {judged.step:,} of {settings.steps:,}{', of an unfinished run' if state else ''}. "
    text += f"Embeddings: {judged.embedding}. "
    if judged.predictions is not None:
        text += f"Classifier: {as_text(judged.predictions.classifier)}."
    text += "</p>"
    if found is None:
        return f"{text}<p>{_ESTIMATED}</p>{_evaluated(judged)}"
    labels, classes, _ = found
    right = int(np.sum(labels == classes))
    low, high = accuracy_interval(right, len(labels))
    kind = "training pictures whose label was hidden" if judged.split == "training" else f"{judged.split} pictures"
    floor = accuracy(majority_classes(labels), labels)
    one = " All judged pictures are of one class, so that accuracy says little." if floor == 1 else ""
    return (
        f'<p class="lead"><b>{right / len(labels):.1%}</b> of {len(labels):,} {kind} are classified correctly '
        f"(95 % interval {low:.1%} to {high:.1%}).</p>"
        f"<p>Mean over the classes: {balanced_accuracy(classes, labels):.1%}. Always answering the commonest class: "
        f"{floor:.1%}.{one}</p>{text}{_evaluated(judged)}"
    )


def _evaluated(judged: Judged) -> str:
    """Shows the table of `semppl-evaluate`, if that program has evaluated this checkpoint."""
    for split in ("test", "validation"):
        file = judged.workdir / ("metrics.json" if split == "test" else f"metrics_{split}.json")
        if not file.is_file():
            continue
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if report.get("step") != judged.step or "accuracy" not in report:
            continue
        measured = report["accuracy"]
        evaluators = dict.fromkeys(name for row in measured.values() for name in row)
        cells = [
            [name.replace("_", " "), *(f"{row[name]:.4f}" if name in row else "–" for row in measured.values())]
            for name in evaluators
        ]
        header = ["", *(name.replace("_", " ") for name in measured)]
        return f"<h3>Accuracy of every evaluator on the {split} pictures</h3>{table(header, cells)}"
    return '<p class="quiet">semppl-evaluate measures more classifiers; this page then shows their accuracies.</p>'


def _data_card(judged: Judged) -> str:
    source, settings = judged.data.source, judged.hyperparameters
    visible = judged.data.labels[judged.data.labels != NO_LABEL]
    counts = np.bincount(visible, minlength=len(source.class_names))
    rows: list[Sequence[Any]] = [
        ("training pictures", f"{len(source.train):,} of {settings.data}"),
        ("of these labelled", f"{len(visible):,}"),
        ("classes", f"{len(source.class_names):,}"),
        ("labelled pictures per class", _spread(counts)),
    ]
    for split in ("test", "validation"):
        images = getattr(source, split)
        if images is not None:
            known = int(np.sum(images.labels != NO_LABEL))
            rows.append((f"{split} pictures", f"{len(images):,}, {known:,} with a label"))
    rows.append(("views", f"{settings.large_views} of {settings.large_size} pixels, {settings.small_views} small"))
    if settings.embedded_size != settings.large_size:
        rows.append(("pictures in evaluation", f"{settings.embedded_size} pixels"))
    rows.append(
        ("encoder", f"{settings.encoder}, {settings.initial_weights or settings.initial_run or 'random weights'}")
    )
    rows.append(("judged here", _sampled(judged)))
    return table([], rows)


def _spread(counts: np.ndarray) -> str:
    if counts.min() == counts.max():
        return f"{counts.min()}"
    return f"{counts.min()} to {counts.max()}, median {np.median(counts):g}"


def _sampled(judged: Judged) -> str:
    pictures, kind = judged.judged, "training pictures without a visible label"
    if judged.split != "training":
        kind = f"{judged.split} pictures"
    if len(pictures) < pictures.total:
        return f"a fixed draw of {len(pictures):,} of {pictures.total:,} {kind}"
    return f"{len(pictures):,} {kind}"


def _curves(judged: Judged) -> str:
    drawn = curves.curve_charts(curves.read_curves(judged.workdir))
    if not drawn:
        return "<p>The run has no metrics.jsonl, which training writes.</p>"
    return _figures(drawn)


def _figures(drawn: Sequence[tuple[str, str]]) -> str:
    figures = "".join(f"<figure>{chart}<figcaption>{caption}</figcaption></figure>" for caption, chart in drawn)
    return f'<div class="charts">{figures}</div>'


def _confusion(judged: Judged) -> str:
    found = _truth(judged)
    if found is None:
        return f"<p>{_ESTIMATED}</p>"
    names = judged.data.source.class_names
    counts = confusion_counts(found[0], found[1], len(names))
    chart = charts.confusion_chart(counts, names, "Confusion matrix")
    off = counts - np.diag(np.diag(counts))
    order = [divmod(int(place), len(names)) for place in np.argsort(-off, axis=None, kind="stable")[:_MAX_CONFUSIONS]]
    rows = [[names[true], names[other], int(off[true, other])] for true, other in order if off[true, other]]
    listed = f"<h3>Commonest confusions</h3>{table(['true', 'predicted', 'pictures'], rows)}" if rows else ""
    caption = "Rows are true classes; the stronger the colour of a cell, the larger its share of the row."
    return f'<div class="charts"><figure>{chart}<figcaption>{caption}</figcaption></figure><div>{listed}</div></div>'


def _classes(judged: Judged) -> str:
    names = judged.data.source.class_names
    visible = np.bincount(judged.data.labels[judged.data.labels != NO_LABEL], minlength=len(names))
    found = _truth(judged)
    header = ["class", "labelled"]
    rows: list[list[Any]] = [[name, int(count)] for name, count in zip(names, visible, strict=True)]
    if found is not None:
        counts = confusion_counts(found[0], found[1], len(names))
        header += ["judged", "recall", "precision", "F1"]
        for label, row in enumerate(rows):
            row += _scores(counts, label)
    shown = table(header, rows)
    if len(rows) > _OPEN_CLASSES:
        return f"<details><summary>{counted(len(rows), 'class')}</summary>{shown}</details>"
    return shown


def _scores(counts: np.ndarray, label: int) -> list[Any]:
    """Returns the number of pictures of a class, recall, precision and F1; – where there is nothing to divide by."""
    right, own, predicted = counts[label, label], counts[label].sum(), counts[:, label].sum()
    pairs = ((right, own), (right, predicted), (2 * right, own + predicted))
    return [int(own), *(f"{part / whole:.3f}" if whole else "–" for part, whole in pairs)]


def _confidence(judged: Judged) -> str:
    found = _truth(judged)
    if found is None:
        return f"<p>{_ESTIMATED}</p>"
    labels, classes, confidence = found
    correct = labels == classes
    coverages, risks = risk_coverage(confidence, correct)
    at = risks_at(coverages, risks)
    listed = "; ".join(f"{risk:.1%} at {least:.0%}" for least, risk in zip(COVERAGES, at, strict=True))
    error, area = expected_calibration_error(confidence, correct), area_under_risk_coverage(confidence, correct)
    first = f"Reliability diagram: expected calibration error {error:.3f} in 15 bins."
    second = f"Risk–coverage curve: area {area:.4f}. Share of wrong answers among the surest: {listed}."
    return _figures(
        [
            (first, charts.reliability_diagram(reliability(confidence, correct), "Reliability diagram")),
            (second, charts.risk_coverage_curve(coverages, risks, "Risk–coverage curve")),
        ]
    )


def _origin(judged: Judged) -> str:
    settings = judged.hyperparameters
    command = provenance.training_command(judged.workdir, settings)
    rows = provenance.provenance_rows(judged.workdir, settings)
    listed = table([], list(json.loads(settings.to_json()).items()))
    return (
        f'<p>Every setting of the run that differs from its default:</p><code class="command">{as_text(command)}</code>'
        f"{table([], rows)}<details><summary>All settings</summary>{listed}</details>"
    )
