"""CSV files of advice: rows that a label file can take, in any encoding of file names."""

import csv
import io
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from semppl.data.files.folder import list_folder
from semppl.data.files.label_file import canonical
from semppl.data.images import NO_LABEL
from semppl.data.splits import split_specs
from semppl.evaluation.advice.embedded import Embedded
from semppl.runs.files import file_written_aside


def label_table(embedded: Embedded, chosen: Sequence[int]) -> list[list[str]]:
    """Returns the rows of a label file: header, the chosen pictures with an empty label, and all that is known.

    Identities and masks of the folder's label file are kept.

    Args:
        embedded: Training pictures with their labels.
        chosen: Rows of the pictures to label.
    """
    more = _further_cells(embedded)
    header = [name for name in ("id", "mask") if any(cells[name] for cells in more.values())]

    def row(picture: int) -> list[str]:
        name = embedded.name(picture)
        cells = more.get(canonical(name), {})
        return [name, embedded.class_name(int(embedded.labels[picture])), *(cells.get(column, "") for column in header)]

    known = embedded.labels != NO_LABEL
    if header:
        names = [canonical(embedded.name(picture)) for picture in range(len(known))]
        known = known | np.array([any(more.get(name, {}).get(column) for column in header) for name in names])
    rest = np.setdiff1d(np.flatnonzero(known), chosen)
    return [["path", "label", *header], *(row(int(picture)) for picture in (*chosen, *rest))]


def write_table(path: pathlib.Path, rows: Iterable[Sequence[Any]]) -> None:
    """Writes rows as a CSV file in UTF-8; bytes of file names that are not Unicode remain as they are."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with file_written_aside(path) as file:
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))


def _further_cells(embedded: Embedded) -> dict[str, dict[str, str]]:
    """Returns identity and mask of each picture, by path, if the pictures are of one folder."""
    key, _, argument = embedded.hyperparameters.data.partition(":")
    if key != "folder" or len(split_specs(embedded.hyperparameters.data)) > 1:
        return {}
    rows = list_folder(argument).rows
    return {row.path: {"id": row.id, "mask": row.mask} for row in rows if row.id or row.mask}
