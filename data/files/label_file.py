"""The CSV file with what is known of a folder's pictures: a label, what it shows, where its mask is."""

import csv
import dataclasses
import io
import os
import pathlib
import posixpath
import unicodedata
from collections.abc import Iterator

_COLUMNS = ("path", "label")
_MORE_COLUMNS = ("id", "mask")


@dataclasses.dataclass(frozen=True)
class Row:
    """What a CSV says of a picture; empty where it says nothing.

    Attributes:
        path: of the picture, below its folder, with `/` and in Unicode's composed form.
        label: its class.
        id: of what it shows: pictures with the same id show the same thing.
        mask: path of the picture that is 0 where this one shows background.
    """

    path: str
    label: str
    id: str = ""
    mask: str = ""


def canonical(path: str) -> str:
    """Returns a path in the one form in which paths are compared: systems differ in how they compose an umlaut."""
    return unicodedata.normalize("NFC", path)


def read_label_file(file: pathlib.Path, folder: pathlib.Path) -> dict[str, Row]:
    """Reads a CSV file with a header and the columns path and label; of the others id and mask are used.

    Args:
        file: UTF-8, with or without a byte-order mark, and any line ends.
        folder: that the paths start from.

    Returns:
        Rows by path, in the order of the file. A path may come again, if its rows do not contradict each other.

    Raises:
        ValueError: if the file is something else, naming it and the line.
    """
    rows: dict[str, Row] = {}
    for line, row in _rows(file, folder):
        rows[row.path] = row if row.path not in rows else _merged(rows[row.path], row, f"{file}, line {line}")
    return rows


def _rows(file: pathlib.Path, folder: pathlib.Path) -> Iterator[tuple[int, Row]]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} must be UTF-8. Received: byte {error.object[error.start]:#04x} at {error.start}; save it as UTF-8"
        ) from error
    except OSError as error:
        raise ValueError(f"?labels= must be a file that can be read. Received: {file} ({error.strerror})") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if not set(_COLUMNS) <= set(header):
            received = ", ".join(header)[:80] or "no line"
            raise ValueError(f"{file} must begin with a line of names, path and label among them. Received: {received}")
        places = {name: header.index(name) for name in (*_COLUMNS, *_MORE_COLUMNS) if name in header}
        for values in reader:
            cells = {name: values[place].strip() if place < len(values) else "" for name, place in places.items()}
            if any(cells.values()):
                where = f"{file}, line {reader.line_num}"
                paths = {name: _below(cells.get(name, ""), folder, name, where) for name in ("path", "mask")}
                if not paths["path"]:
                    raise ValueError(f"Every row must name a picture. Received: an empty path ({where})")
                yield reader.line_num, Row(**{**cells, **paths})
    except csv.Error as error:
        raise ValueError(f"{file} must be a CSV file. Received: line {reader.line_num}: {error}") from error


def _below(path: str, folder: pathlib.Path, column: str, where: str) -> str:
    """Makes a path relative to the folder, and refuses one that leaves it."""
    if os.path.isabs(path):
        path = os.path.relpath(path, os.path.abspath(folder))
    inside = canonical(posixpath.normpath(path.replace("\\", "/"))) if path else ""
    if inside.split("/")[0] == ".." or "\0" in inside or inside == ".":
        raise ValueError(f"Every {column} must stay below {folder}. Received: {path!r} ({where})")
    return inside


def _merged(first: Row, second: Row, where: str) -> Row:
    values = {}
    for name in ("label", *_MORE_COLUMNS):
        told = sorted({getattr(first, name), getattr(second, name)} - {""})
        if len(told) > 1:
            raise ValueError(f"A picture must have one {name}. Received: {first.path}: {' and '.join(told)} ({where})")
        values[name] = told[0] if told else ""
    return Row(first.path, **values)
