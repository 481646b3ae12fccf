"""The ledger of pseudo-labels: a Parquet file with a row per picture and model, and what changed since the step before."""

import pathlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from semppl.programs.pages.html_page import encodable
from semppl.runs.files import file_written_aside, locked

if TYPE_CHECKING:
    from semppl.evaluation.advice.embedded import Embedded
    from semppl.evaluation.advice.pseudo_labels import PseudoLabels

FILE = "pseudo_labels.parquet"
LOCK = ".pseudo_labels.lock"
SCHEMA = pa.schema(
    {
        "step": pa.int64(),
        "weights": pa.string(),
        "position": pa.int64(),
        "path": pa.string(),
        "label": pa.string(),
        "probability": pa.float64(),
        "abstain": pa.bool_(),
        "method": pa.string(),
        "chosen_on": pa.string(),
        "vote": pa.string(),
        "share": pa.float64(),
        "votes": pa.list_(pa.string()),
        "neighbours": pa.list_(pa.string()),
        "similarities": pa.list_(pa.float32()),
        "previous_step": pa.int64(),
        "previous_weights": pa.string(),
        "previous_label": pa.string(),
        "previous_probability": pa.float64(),
    }
)
"""Columns: the model, by its step and the SHA-256 digest of its weights; the label that is given, by which method, and on which
pictures the method was chosen; the class that the vote elects, and its share of the votes; the classes and paths of the nearest
labelled pictures, which voted, and their similarities; the label at the latest earlier step, and the weights that gave it."""

_ADDED = ("weights", "chosen_on", "previous_weights")
"""Columns that ledgers of earlier releases lack."""

_MOST_NEIGHBOURS = 10


def ledger_rows(embedded: "Embedded", found: "PseudoLabels", abstains: Any) -> list[dict[str, Any]]:
    """Returns the rows of one step, without what was before.

    Args:
        embedded: Training pictures.
        found: Their pseudo-labels.
        abstains: bool `[u]`, whether the label is withheld.
    """
    rows, ballot = [], found.ballot
    for place, row in enumerate(found.rows.tolist()):
        voters = found.known[ballot.voters[place][:_MOST_NEIGHBOURS]].tolist()
        elected = int(ballot.shares[place].argmax())
        rows.append(
            {
                "step": embedded.step,
                "weights": embedded.weights,
                "position": row,
                "path": encodable(embedded.name(row)),
                "label": embedded.class_name(int(found.labels[place])),
                "probability": float(found.probabilities[place]),
                "abstain": bool(abstains[place]),
                "method": found.method,
                "chosen_on": found.chosen_on,
                "vote": embedded.class_name(int(found.classes[elected])),
                "share": float(ballot.shares[place, elected]),
                "votes": [embedded.class_name(int(embedded.labels[voter])) for voter in voters],
                "neighbours": [encodable(embedded.name(voter)) for voter in voters],
                "similarities": ballot.similarities[place][:_MOST_NEIGHBOURS].tolist(),
            }
        )
    return rows


def write_ledger(path: pathlib.Path, rows: list[dict[str, Any]]) -> int | None:
    """Adds the rows of one model to a ledger, in place of earlier ones of that model; a new file if there is none.

    Other processes that write to the same ledger wait. A model is identified by its step and the digest of its weights.

    Returns:
        The number of pictures whose label differs from that at the latest earlier step; None if there is no earlier step.

    Raises:
        ValueError: If the file is no ledger.
    """
    with locked(path.with_name(LOCK), wait=True):
        former = _read(path) if path.exists() else []
        models = {(row["step"], row["weights"]) for row in rows}
        former = [row for row in former if (row["step"], row["weights"]) not in models]
        changed = _compare(rows, former)
        with file_written_aside(path) as file:
            pq.write_table(pa.Table.from_pylist(former + rows, SCHEMA), file)
    return changed


def _compare(rows: list[dict[str, Any]], former: list[dict[str, Any]]) -> int | None:
    """Adds to each row the picture's label at the latest earlier step; returns how many labels differ, None without any."""
    changed = None
    before = {row["path"]: row for row in sorted(former, key=lambda row: row["step"]) if row["step"] < rows[0]["step"]}
    for row in rows:
        if old := before.get(row["path"]):
            changed = (changed or 0) + (old["label"] != row["label"])
            row |= {f"previous_{name}": old[name] for name in ("step", "weights", "label", "probability")}
    return changed


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(path)
        for name in _ADDED:
            if name not in table.schema.names:
                table = table.append_column(name, pa.nulls(len(table), SCHEMA.field(name).type))
        return list(table.select(SCHEMA.names).to_pylist())
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"--out must hold a ledger that this program wrote. Received: {path} ({error})") from error
