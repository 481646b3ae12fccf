"""The ledger of pseudo-labels: a Parquet file with a row per picture and step, and what changed since the step before."""

import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from semppl.evaluation.advice.embedded import Embedded
from semppl.evaluation.advice.pseudo_labels import PseudoLabels
from semppl.programs.pages.html_page import encodable
from semppl.runs.files import file_written_aside

FILE = "pseudo_labels.parquet"
SCHEMA = pa.schema(
    {
        "step": pa.int64(),
        "position": pa.int64(),
        "path": pa.string(),
        "label": pa.string(),
        "probability": pa.float64(),
        "abstain": pa.bool_(),
        "method": pa.string(),
        "vote": pa.string(),
        "share": pa.float64(),
        "votes": pa.list_(pa.string()),
        "neighbours": pa.list_(pa.string()),
        "similarities": pa.list_(pa.float32()),
        "previous_step": pa.int64(),
        "previous_label": pa.string(),
        "previous_probability": pa.float64(),
    }
)
"""Columns: the label that is given, by which method; the class that the vote elects, and its share of the votes; the classes and
paths of the nearest labelled pictures, which voted, and their similarities; the label at the latest earlier step."""

_MOST_NEIGHBOURS = 10


def ledger_rows(embedded: Embedded, found: PseudoLabels, abstains: Any) -> list[dict[str, Any]]:
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
                "position": row,
                "path": encodable(embedded.name(row)),
                "label": embedded.class_name(int(found.labels[place])),
                "probability": float(found.probabilities[place]),
                "abstain": bool(abstains[place]),
                "method": found.method,
                "vote": embedded.class_name(int(found.classes[elected])),
                "share": float(ballot.shares[place, elected]),
                "votes": [embedded.class_name(int(embedded.labels[voter])) for voter in voters],
                "neighbours": [encodable(embedded.name(voter)) for voter in voters],
                "similarities": ballot.similarities[place][:_MOST_NEIGHBOURS].tolist(),
            }
        )
    return rows


def write_ledger(path: pathlib.Path, rows: list[dict[str, Any]]) -> int | None:
    """Adds the rows of one step to a ledger, in place of earlier ones of that step; a new file if there is none.

    Returns:
        The number of pictures whose label differs from that at the latest earlier step; None if there is no earlier step.

    Raises:
        ValueError: If the file is no ledger.
    """
    step = rows[0]["step"] if rows else 0
    former = [row for row in _read(path) if row["step"] != step] if path.exists() else []
    before = {row["path"]: row for row in sorted(former, key=lambda row: row["step"]) if row["step"] < step}
    changed = None
    for row in rows:
        if old := before.get(row["path"]):
            changed = (changed or 0) + (old["label"] != row["label"])
            row |= {
                "previous_step": old["step"],
                "previous_label": old["label"],
                "previous_probability": old["probability"],
            }
    with file_written_aside(path) as file:
        pq.write_table(pa.Table.from_pylist(former + rows, SCHEMA), file)
    return changed


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(path)
        return list(table.select(SCHEMA.names).to_pylist())
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"--out must hold a ledger that this program wrote. Received: {path} ({error})") from error
