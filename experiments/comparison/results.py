"""The results of a comparison: measures of each run, rows over seeds, differences, and the files that keep them."""

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import math
import pathlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from semppl.evaluation.evaluate import measure_rows
from semppl.evaluation.results.table import Measured
from semppl.experiments.comparison.plan import FROZEN, METHODS, RAW_PIXELS, Training, labels_in_words
from semppl.experiments.comparison.significance import Difference, false_positives, paired_difference
from semppl.runs.files import write_atomically
from semppl.runs.folder import read_done

CLASSIFIERS = ("nearest_neighbours", "logistic_regression", "label_spreading")
"""Evaluators by which all methods are compared."""

_FROZEN_ROWS = (RAW_PIXELS, "features")
_TRAINED_ROWS = ("classifier", "projections")
"""Representations by which methods that train are compared: the first that a run has."""

OWN = "own"
"""The classifier that a method trained itself, in the place of CLASSIFIERS."""

_JUDGED = "compared.json"
_WORDS = {
    "nearest_neighbours": "nearest labelled image",
    "logistic_regression": "logistic regression",
    "label_spreading": "label spreading",
    OWN: "its own classifier",
}


@dataclasses.dataclass(frozen=True)
class Result:
    """Measures of one run.

    Attributes:
        method: Key of METHODS.
        labels_per_class: Number of labelled images per class; 0: the labels that the data give.
        seed: Seed of the label draw and of the training.
        measures: Measure → representation → classifier → value in 0..1.
    """

    method: str
    labels_per_class: int
    seed: int
    measures: Mapping[str, Measured]


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table: one way to classify, at every number of labels.

    Attributes:
        method: Key of METHODS, or RAW_PIXELS.
        classifier: One of CLASSIFIERS, or OWN.
        values: Accuracy by number of labels per class and by seed.
    """

    method: str
    classifier: str
    values: Mapping[int, Mapping[int, float]]


@dataclasses.dataclass(frozen=True)
class Compared:
    """The difference of two methods with the same classifier and labels, or with their own classifier.

    Attributes:
        first: Key of METHODS, minuend.
        second: Key of METHODS, subtrahend.
        classifier: One of CLASSIFIERS, where a method with its own classifier has that in its place; OWN where both have their own.
        labels_per_class: Number of labelled images per class.
        difference: Difference of the accuracies, paired over seeds.
    """

    first: str
    second: str
    classifier: str
    labels_per_class: int
    difference: Difference


def judge(training: Training, *, split: str, digest: str) -> Result:
    """Evaluates a finished run, or reads its measures if it was evaluated before on the same images.

    Args:
        training: Run of the comparison.
        split: Held-out images to evaluate on: "test" or "validation".
        digest: Digest of these images and their classes.
    """
    path = training.folder / _JUDGED
    of = {
        "weights_sha256": read_done(training.folder)["weights_sha256"],
        "split": split,
        "images_sha256": digest,
    }
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if kept.get("of") != of:
        with (
            training.log.open("a", encoding="utf-8") as log,
            contextlib.redirect_stderr(log),
        ):  # bars of several seconds
            shown = _FROZEN_ROWS if training.method == FROZEN else _TRAINED_ROWS
            measures = measure_rows(training.folder, shown, evaluators=CLASSIFIERS, split=split)
        kept = {"of": of, "measures": measures}
        write_atomically(path, json.dumps(kept, indent=2) + "\n")
    return Result(training.method, training.labels_per_class, training.seed, kept["measures"])


def rows_of(results: Sequence[Result]) -> list[Row]:
    """Returns the rows of the table: raw pixels, then every method in the order of METHODS, by each of its classifiers.

    The frozen encoder is compared by its features, a method that trains a classifier by this, all others by the projections.
    """
    rows = []
    for method in (RAW_PIXELS, *METHODS):
        source = FROZEN if method == RAW_PIXELS else method
        runs = sorted((r for r in results if r.method == source), key=lambda run: (run.labels_per_class, run.seed))
        cells = [(run, _compared(method, run.measures["accuracy"])) for run in runs]
        for classifier in dict.fromkeys(name for _, row in cells for name in row):
            values: dict[int, dict[int, float]] = {}
            for run, row in cells:
                values.setdefault(run.labels_per_class, {})[run.seed] = row[classifier]
            rows.append(Row(method, classifier, values))
    return rows


def _compared(method: str, measured: Measured) -> Mapping[str, float]:
    """Returns the values by classifier of the representation by which a method is compared."""
    own = {RAW_PIXELS: [RAW_PIXELS], FROZEN: ["features"]}.get(method, _TRAINED_ROWS)
    return next(measured[name] for name in own if name in measured)


def compare_methods(rows: Sequence[Row]) -> list[Compared]:
    """Computes the difference of every two methods by each classifier at each number of labels; the later minus the earlier."""
    found = []
    budgets = sorted({budget for row in rows for budget in row.values})
    for budget, classifier in itertools.product(budgets, (*CLASSIFIERS, OWN)):
        shown = [row for row in rows_for(rows, classifier) if row.method != RAW_PIXELS]
        for second, first in itertools.combinations(shown, 2):
            if classifier != OWN and first.classifier == second.classifier == OWN:
                continue  # one difference, not one by each classifier
            difference = paired_difference(first.values.get(budget, {}), second.values.get(budget, {}))
            if difference is not None:
                found.append(Compared(first.method, second.method, classifier, budget, difference))
    return found


def rows_for(rows: Sequence[Row], classifier: str) -> list[Row]:
    """Returns the rows that are compared by a classifier: those with it, and those with a classifier of their own."""
    return [row for row in rows if row.classifier in (classifier, OWN)]


def method_in_words(method: str, start: str = "") -> str:
    """Returns the title of a row's method.

    Args:
        method: Key of METHODS, or RAW_PIXELS.
        start: Where the frozen encoder's weights come from; empty: they are random.
    """
    if method == RAW_PIXELS:
        return "raw pixels"
    if method == FROZEN:
        name = pathlib.PurePath(start).name  # of a file or of a run's folder
        return f"frozen encoder, pretrained ({name})" if start else "untrained encoder, random weights"
    return METHODS[method].title


def classifier_in_words(classifier: str) -> str:
    """Returns the title of a classifier."""
    return _WORDS[classifier]


def cell(values: Sequence[float]) -> str:
    """Formats values over seeds: the mean and, of several, the range."""
    if not values:
        return "–"
    spread = f"  ({min(values):.3f}–{max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def table_lines(rows: Sequence[tuple[str, Sequence[str]]], header: Sequence[str] = ()) -> list[str]:
    """Formats rows of a title and cells for a terminal."""
    widths = [
        max(len(line[at]) for line in (header, *(cells for _, cells in rows)) if line) for at in range(len(rows[0][1]))
    ]
    first = max(46, *(len(title) for title, _ in rows))
    lines = [("", header)] if header else []
    return [
        f"  {title:<{first}} {'   '.join(f'{text:<{width}}' for text, width in zip(cells, widths, strict=True))}".rstrip()
        for title, cells in [*lines, *rows]
    ]


def difference_lines(compared: Sequence[Compared], start: str = "") -> list[str]:
    """Says which differences are significant, by number of labels and pair of methods."""
    judged = [one for one in compared if not math.isnan(one.difference.low)]
    if not judged:
        return ["Fewer than 3 seeds: too few to test which differences are significant."]
    lines = []
    clear = [one for one in judged if one.difference.significant]
    by_pair = lambda one: (one.labels_per_class, one.first, one.second)  # noqa: E731
    for (budget, first, second), group in itertools.groupby(sorted(clear, key=by_pair), key=by_pair):
        names = [method_in_words(name, start) for name in (first, second)]
        amounts = "; ".join(f"{classifier_in_words(one.classifier)} {interval(one.difference)}" for one in group)
        lines.append(f"{labels_in_words(budget)}: {names[0]} − {names[1]}: {amounts}")
    by_chance = f"{false_positives(len(judged)):.1f} false positives are expected"
    return [
        *lines,
        f"{len(clear)} of {len(judged)} differences are significant at 95 % (paired t over seeds); {by_chance}.",
    ]


def interval(difference: Difference) -> str:
    """Formats a difference with its confidence interval, if it has one."""
    if math.isnan(difference.low):
        return f"{difference.mean:+.3f}"
    return f"{difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def write_results(workdir: pathlib.Path, results: Sequence[Result], summary: Mapping[str, Any]) -> None:
    """Writes every measure of every run to `results.csv`, and rows and differences to `results.json`."""
    write_atomically(workdir / "results.csv", _csv(results))
    rows = rows_of(results)
    differences = [
        dataclasses.asdict(one)
        | {"difference": _without_nan(one.difference), "significant": one.difference.significant}
        for one in compare_methods(rows)
    ]
    report = {**summary, "rows": list(_rows_as_json(rows)), "differences": differences}
    write_atomically(workdir / "results.json", json.dumps(report, indent=2) + "\n")


def _csv(results: Sequence[Result]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measures = list(results[0].measures) if results else []
    writer.writerow(["method", "labels_per_class", "seed", "representation", "classifier", *measures])
    for run in results:
        for representation, cells in run.measures[measures[0]].items():
            for classifier in cells:
                values = [f"{run.measures[measure][representation][classifier]:.6f}" for measure in measures]
                writer.writerow([run.method, run.labels_per_class, run.seed, representation, classifier, *values])
    return text.getvalue()


def _rows_as_json(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        for budget, by_seed in row.values.items():
            values = list(by_seed.values())
            yield {
                "method": row.method,
                "classifier": row.classifier,
                "labels_per_class": budget,
                "mean": statistics.mean(values),
                "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
                "seeds": len(values),
                "by_seed": by_seed,
            }


def _without_nan(difference: Difference) -> dict[str, float | None]:
    """Returns a difference for JSON, which has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in dataclasses.asdict(difference).items()}
