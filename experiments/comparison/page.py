"""The page of a comparison: one self-contained HTML file with curves, table, differences and settings."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from semppl.configs.wording import counted
from semppl.experiments.comparison import figure
from semppl.experiments.comparison.plan import METHODS, labels_in_words
from semppl.experiments.comparison.results import (
    CLASSIFIERS,
    OWN,
    Compared,
    Row,
    cell,
    classifier_in_words,
    compare_methods,
    difference_lines,
    interval,
    method_in_words,
    rows_for,
)
from semppl.programs.pages.html_page import as_text, document, table

_STYLE = """
.curves { display: flex; flex-wrap: wrap; gap: 1em; }
.curves figure { flex: 1 1 19em; max-width: 32em; margin: 0; }
.curves svg { width: 100%; height: auto; }
.legend { list-style: none; padding: 0; columns: 20em; }
.legend span { display: inline-block; width: 2em; border-top: .25em solid; margin-right: .6em; vertical-align: middle; }
.legend li { break-inside: avoid; }
li, .missing, #table + table td, #settings ~ table td + td { overflow-wrap: anywhere; }
#table + table td:nth-child(n + 3), details td:nth-child(4) { white-space: nowrap; }
@media (max-width: 40em) {
  td, th { padding: .2em .35em; font-size: 13px; }
  #table + table td:nth-child(n + 3), details td:nth-child(4) { white-space: normal; }
  ul { padding-left: 1.2em; }
}
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); padding: .6em; }
"""

_SHARED = (
    *("data", "test", "validation", "split_seed", "encoder", "width", "widths", "initial_weights", "initial_run"),
    *("large_size", "inference_size", "recipe", "large_views", "batch_size", "steps", "optimiser", "learning_rate"),
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What the page shows.

    Attributes:
        rows: Rows of the table.
        start: Where the weights of the frozen encoder come from; empty: they are random.
        settings: Settings that the runs share, by name.
        changes: Settings of each method that differ from the shared ones, by method and name.
        planned: Number of runs.
        done: Number of runs that ended well.
        failed: Names of the runs that failed.
        seeds: Seeds.
        images: Description of the held-out images.
        command: Command line.
    """

    rows: Sequence[Row]
    start: str
    settings: Mapping[str, Any]
    changes: Mapping[str, Mapping[str, Any]]
    planned: int
    done: int
    failed: Sequence[str]
    seeds: Sequence[int]
    images: str
    command: str


def page(shown: Comparison) -> str:
    """Returns the page as HTML."""
    compared = compare_methods(shown.rows)
    sections = [_summary(shown), _curves(shown), _table(shown), _differences(shown, compared), _settings(shown)]
    return document("Comparison", "\n".join(sections), style=_STYLE)


def _summary(shown: Comparison) -> str:
    text = (
        f"<p>Accuracy on {as_text(shown.images)}, over {counted(len(shown.seeds), 'seed')} ({_listed(shown.seeds)}). "
        "Runs of one seed see the same labels; encoder and views are the same in every row, optimiser and number of steps in "
        f"every row that trains{_exceptions(shown)}.</p>"
    )
    if shown.done < shown.planned:
        missing = f"{shown.done} of {counted(shown.planned, 'run')} ended"
        failed = f"; failed: {', '.join(shown.failed)}" if shown.failed else ""
        text += f'<p class="missing">{as_text(missing + failed)}.</p>'
    return text


def _exceptions(shown: Comparison) -> str:
    """Returns the methods that take another number of steps than the others, as the end of a sentence."""
    steps = {method: changes["steps"] for method, changes in shown.changes.items() if changes.get("steps")}
    listed = "; ".join(f"{METHODS[method].title}: {number:,} steps" for method, number in steps.items())
    return as_text(f" (except {listed})") if listed else ""


def _curves(shown: Comparison) -> str:
    lines = figure.lines_of(list(dict.fromkeys(row.method for row in shown.rows if row.values)))
    legend = "".join(
        f'<li><span style="border-top-color: {line.colour}; border-top-style: {line.dashes}"></span>'
        f"{as_text(method_in_words(method, shown.start))}</li>"
        for method, line in lines.items()
    )
    curves, limits = "", figure.limits_of(shown.rows)
    for classifier in CLASSIFIERS:
        title = classifier_in_words(classifier)
        named = f"Accuracy by number of labels, {title}; the table below has the values."
        curves += f"<figure>{figure.curve(rows_for(shown.rows, classifier), title, named, limits, lines)}</figure>"
    own = " A supervised network has its own classifier in every figure." if _with_own(shown.rows) else ""
    return (
        f'<h2 id="curves">Accuracy by number of labels</h2><div class="curves">{curves}</div><ul class="legend">{legend}</ul>'
        f"<p>Lines are means over seeds, bands the range from the lowest to the highest seed.{own}</p>"
    )


def _with_own(rows: Sequence[Row]) -> bool:
    return any(row.classifier == OWN and row.values for row in rows)


def _table(shown: Comparison) -> str:
    budgets = _budgets(shown.rows)
    lines = [
        [
            method_in_words(row.method, shown.start),
            classifier_in_words(row.classifier),
            *(cell(list(row.values.get(budget, {}).values())) for budget in budgets),
        ]
        for row in shown.rows
    ]
    header = ["representation", "classifier", *map(labels_in_words, budgets)]
    note = (
        "Mean over seeds (lowest to highest). Projections are compared where a method trains a projector and no classifier. "
        "Balanced accuracy is in <code>results.csv</code>."
    )
    return f'<h2 id="table">Table</h2>{table(header, lines)}<p>{note}</p>'


def _differences(shown: Comparison, compared: Sequence[Compared]) -> str:
    said = "".join(f"<li>{as_text(line)}</li>" for line in difference_lines(compared, shown.start))
    rows = [
        [
            labels_in_words(one.labels_per_class),
            f"{method_in_words(one.first, shown.start)} − {method_in_words(one.second, shown.start)}",
            classifier_in_words(one.classifier),
            interval(one.difference),
            "yes" if one.difference.significant else "",
        ]
        for one in compared
    ]
    header = ["labels", "difference", "classifier", "mean (95 % interval)", "significant"]
    every = f"<details><summary>All differences</summary>{table(header, rows)}</details>" if rows else ""
    return (
        f'<h2 id="differences">Significant differences</h2><ul>{said}</ul>{every}'
        "<p>Differences are paired: both methods of a seed see the same labels. Intervals are those of the paired t test; they "
        "cover the choice of labels and the randomness of training, not the choice of test images.</p>"
    )


def _settings(shown: Comparison) -> str:
    shared = [
        [f"--{name}", str(shown.settings[name])] for name in _SHARED if shown.settings.get(name) not in ("", None)
    ]
    own = [
        [name, " ".join(f"--{setting}={value}" for setting, value in changes.items())]
        for name, changes in shown.changes.items()
    ]
    return (
        f'<h2 id="settings">Settings</h2><h3>Shared</h3>{table([], shared)}'
        f"<h3>Set by the method</h3>{table(['method', 'settings'], own)}<h3>Command</h3><pre>{as_text(shown.command)}</pre>"
    )


def _budgets(rows: Sequence[Row]) -> list[int]:
    return sorted({budget for row in rows for budget in row.values})


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
