"""Reads which pictures show what: a CSV file with the columns path and label."""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class LabelledPicture:
    """Attributes: path of the picture; label, the name of its class; where, the file and line that say so."""

    path: pathlib.Path
    label: str
    where: str


def read_label_file(path: str | pathlib.Path) -> list[LabelledPicture]:
    """Reads a UTF-8 CSV file, its paths relative to its folder; rows without a label and further columns do not count.

    Raises:
        ValueError: if it is no such file, has no labelled picture, or one that is not there.
    """
    file = pathlib.Path(path)
    if not file.is_file():
        raise ValueError(f"--labels must be a CSV file, with the columns path and label. Received: {path}")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"--labels must be encoded as UTF-8. Received: {path} ({error.reason})") from error
    pictures = []
    for row, where in _read_rows(text, path):
        label = (row["label"] or "").strip()
        if label:
            picture = file.parent / (row["path"] or "")
            if not os.path.isfile(picture):
                raise ValueError(f"--labels must name pictures that are there. Received: {picture} ({where})")
            pictures.append(LabelledPicture(picture, label, where))
    if not pictures:
        raise ValueError(f"--labels must have a labelled picture. Received: {path}, which has none")
    return pictures


def _read_rows(text: str, path: str | pathlib.Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields the rows by column, and where each is; whoever forgot to close a quote hears of it."""
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    end = 0  # of the row before
    try:
        columns = rows.fieldnames or []
        if not {"path", "label"} <= set(columns):
            raise ValueError(
                f"--labels must have the columns path and label. Received: {path}, with {', '.join(columns)}"
            )
        end = rows.line_num
        for row in rows:
            if len((row["label"] or "").strip().splitlines()) > 1:
                raise csv.Error("a label with line breaks")
            yield row, f"{path}, line {rows.line_num}"
            end = rows.line_num
    except csv.Error as error:
        last = rows.reader.line_num
        lines = f"line {last}" if last <= end + 1 else f"lines {end + 1} to {last}"
        raise ValueError(
            f"--labels must be a CSV file. Received: {path}, {lines}: {error}; a quote may be open"
        ) from error
