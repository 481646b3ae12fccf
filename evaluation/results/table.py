"""Tables of measures, and sentences about what these mean."""

from collections.abc import Mapping, Sequence
from typing import Any

Measured = dict[str, dict[str, float]]
"""Representation → evaluator → a measure in 0..1."""

ALL_LABELS = "logistic_regression_all_labels"
"""The evaluator that sees hidden labels, with which floors are not compared."""

_SERVED_AS = {"nearest_neighbours": "vote", "class_means": "class_means", "logistic_regression": "logistic_regression"}
_SERVED_ROWS = ("projections", "features", "joint")  # of which the first is the default
_PREFIX = "projections[:"


def table(measured: Measured, title: str) -> str:
    """Formats a measure as a table under its title: one row per representation, one column per evaluator.

    A column whose cells are all those of the column before it is left out, and named below the table.
    """
    columns = list(dict.fromkeys(evaluator for row in measured.values() for evaluator in row))
    cells = {c: [f"{row[c]:.4f}" if c in row else "–" for row in measured.values()] for c in columns}
    kept: list[str] = []
    repeated: dict[str, str] = {}
    for column in columns:
        if kept and cells[column] == cells[kept[-1]]:
            repeated[column] = kept[-1]
        else:
            kept.append(column)
    width = max(len(name) for name in (*measured, title))
    lines = ["  ".join([f"{title:<{width}}", *(f"{c:>6}" for c in kept)])]
    for number, name in enumerate(measured):
        lines.append("  ".join([f"{name:<{width}}", *(f"{cells[c][number]:>{max(len(c), 6)}}" for c in kept)]))
    return "\n".join(lines + [f"{column}: the same as {other}" for column, other in repeated.items()])


def best(measured: Measured, rows: Sequence[str], columns: Sequence[str]) -> tuple[float, str, str] | None:
    """Returns the largest value with its row and column, the first of these in a tie; None if there is no such cell."""
    found = [(measured[r][c], r, c) for r in rows if r in measured for c in columns if c in measured[r]]
    return max(found, key=lambda cell: cell[0], default=None)


def fair_columns(measured: Measured) -> list[str]:
    """Returns the evaluators that see no hidden labels; all, if there is no such evaluator."""
    columns = list(dict.fromkeys(column for row in measured.values() for column in row))
    return [column for column in columns if column != ALL_LABELS] or columns


def shown_cell(measured: Measured) -> tuple[str, str]:
    """Returns the row and column whose classes are reported one by one, and which is compared with floors.

    Args:
        measured: Accuracies.

    Returns:
        The row and column that are exported by the command which `served_lines` names; where no column can be served, the
        first column of the projections; without projections, the run's own classifier, or else the first column of the features.
    """
    if served := _served(measured):
        return served[1:]
    row = next(name for name in (_SERVED_ROWS[0], "classifier", "features") if name in measured)
    return row, next(iter(measured[row]))


def below_floors(measured: Measured, floors: Mapping[str, float]) -> str:
    """Says that an encoder is below floors; empty if it is above all.

    Args:
        measured: Accuracies; of these, that of `shown_cell` is compared.
        floors: Accuracy of each floor.
    """
    if floors.get("majority_class") == 1:
        return "warning: all of these images are of one class, so that accuracy says nothing about the encoder."
    row, column = shown_cell(measured)
    accuracy = measured[row][column]
    above = [f"{name.replace('_', ' ')} ({value:.4f})" for name, value in floors.items() if value >= accuracy]
    if not above:
        return ""
    return (
        f"warning: the encoder is not above {' and '.join(above)}: its accuracy is {accuracy:.4f} "
        f"({row}, {column}). Train longer, with more labels, or with other settings before you use it."
    )


def prefix_row(dims: int) -> str:
    """Returns the name of the row of the first `dims` dimensions of the projections."""
    return f"{_PREFIX}{dims}]"


def served_lines(measured: Measured, split: str = "validation") -> list[str]:
    """Says which row an export serves, and which settings export the best one that can be served.

    Args:
        measured: Accuracies.
        split: Held-out images on which these were measured: "test" or "validation".
    """
    default, served = _SERVED_ROWS[0], _served(measured)
    if default not in measured:
        return ["An export serves projections, which have no row here; --embedding=features serves the row features."]
    line = f"An export serves the row {default}, and answers by a vote, to which nearest_neighbours comes closest"
    if served is None or served[1:] == (default, "nearest_neighbours"):
        return [f"{line}."]
    accuracy, row, column = served
    chosen = "" if row == default else f" {_embedding_flags(row)}"
    chosen += "" if column == "nearest_neighbours" else f" --answers={_SERVED_AS[column]}"
    lines = [
        f"{line} ({measured[default]['nearest_neighbours']:.4f});",
        f"{row} with {column} ({accuracy:.4f}) is exported with{chosen}.",
    ]
    if split == "test":
        lines.append(
            "The best row is chosen on the test images, so that its accuracy is optimistic; choose with --split=validation where "
            "the run has validation images."
        )
    return lines


def _served(measured: Measured) -> tuple[float, str, str] | None:
    """Returns the best accuracy that can be served, the default in a tie, with row and column; None without the default."""
    default = measured.get(_SERVED_ROWS[0], {})
    rows = [*_SERVED_ROWS, *(row for row in measured if row.startswith(_PREFIX))]
    return best(measured, rows, list(_SERVED_AS)) if "nearest_neighbours" in default else None


def _embedding_flags(row: str) -> str:
    """Returns the flags that export a row."""
    embedding, _, dims = row.removesuffix("]").partition("[:")
    return f"--embedding={embedding}" + (f" --embedding_dims={dims}" if dims else "")


def floor_line(floors: Mapping[str, Any]) -> str:
    """Formats floors as one line."""
    return "floors: " + ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in floors.items())
