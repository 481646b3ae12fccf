"""Label files: CSV files with the labels, identities and masks of pictures."""

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
    """One picture's row of a label file; empty cells are unknown.

    Attributes:
        path: Path of the picture below its folder, with `/` and in Unicode's composed form.
        label: Name of the class.
        id: Identity of what the picture shows: pictures with the same id show the same thing.
        mask: Path of the mask, a picture that is 0 on the background.
    """

    path: str
    label: str
    id: str = ""
    mask: str = ""


def canonical(path: str) -> str:
    """Returns a path in Unicode's composed form (NFC), in which paths are compared: file systems differ in their form."""
    return unicodedata.normalize("NFC", path)


def read_label_file(file: pathlib.Path, folder: pathlib.Path) -> dict[str, Row]:
    """Reads the label file of a folder of pictures: the columns path and label, and the optional columns id and mask.

    Args:
        file: CSV file, as `read_rows` takes it.
        folder: Folder that the paths start from.

    Returns:
        Rows by path, in the order of the file. A path may come again if its rows do not contradict each other.

    Raises:
        ValueError: If the file is not a valid label file; the message names the file and the line.
    """
    rows: dict[str, Row] = {}
    for lines, cells in read_rows(file, called="?labels="):
        where = f"{file}, {lines}"
        paths = {name: _below(cells.get(name, ""), folder, name, where) for name in ("path", "mask")}
        row = Row(**{**cells, **paths})
        rows[row.path] = row if row.path not in rows else _merged(rows[row.path], row, where)
    return rows


def read_rows(file: pathlib.Path, *, called: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Reads a CSV file with a header that contains path and label, in any order, upper or lower case.

    Args:
        file: CSV file in UTF-8, with or without a byte-order mark, with any line endings.
        called: Name of the option that gives the file, for errors.

    Yields:
        Place of a row in the file, such as "line 4", and the row's cells by column, without spaces around them; empty rows are
        left out.

    Raises:
        ValueError: If the file is not a valid CSV file; the message names the file and the line.
    """
    reader = csv.reader(io.StringIO(_text(file, called), newline=""), strict=True)
    end = 0  # line of the end of the row before
    try:
        places = _places(file, next(reader, []))
        end = reader.line_num
        for values in reader:
            lines = _lines(end + 1, reader.line_num)
            cells = {name: values[place].strip() if place < len(values) else "" for name, place in places.items()}
            if any(cells.values()):
                if not cells["path"]:
                    raise ValueError(f"Every row must name a picture. Received: an empty path ({file}, {lines})")
                yield lines, cells
            end = reader.line_num
    except csv.Error as error:
        raise open_quote(file, _lines(end + 1, reader.line_num), str(error)) from error


def open_quote(file: pathlib.Path, lines: str, problem: str) -> ValueError:
    """Returns the error for rows that cannot be separated, usually because of an unclosed quote.

    Args:
        file: CSV file.
        lines: Place of the rows in the file.
        problem: What is wrong with the rows.
    """
    return ValueError(f"{file} must be a CSV file. Received: {lines}: {problem}; a quote may be open")


def plain_path(path: str) -> str:
    """Returns a path of a label file with `/` between its parts, and without redundant ones."""
    return posixpath.normpath(path.replace("\\", "/"))


def _text(file: pathlib.Path, called: str) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} must be UTF-8. Received: byte {error.object[error.start]:#04x} at {error.start}; save it as UTF-8"
        ) from error
    except OSError as error:
        raise ValueError(f"{called} must be a file that can be read. Received: {file} ({error.strerror})") from error


def _places(file: pathlib.Path, first_row: list[str]) -> dict[str, int]:
    """Returns the index of each column by name."""
    header = [name.strip().lower() for name in first_row]
    if not set(_COLUMNS) <= set(header):
        received = ", ".join(header)[:80] or "no line"
        raise ValueError(f"{file} must begin with a line of names, path and label among them. Received: {received}")
    return {name: header.index(name) for name in (*_COLUMNS, *_MORE_COLUMNS) if name in header}


def _lines(first: int, last: int) -> str:
    return f"line {last}" if first >= last else f"lines {first} to {last}"


def _below(path: str, folder: pathlib.Path, column: str, where: str) -> str:
    """Makes a path relative to the folder, and refuses a path outside the folder."""
    if os.path.isabs(path):
        path = os.path.relpath(path, os.path.abspath(folder))
    inside = canonical(plain_path(path)) if path else ""
    if inside.split("/")[0] == ".." or "\0" in inside or inside == ".":
        raise ValueError(f"Every {column} must stay below {folder}. Received: {path!r} ({where})")
    return inside


def _merged(first: Row, second: Row, where: str) -> Row:
    values = {}
    for name in ("label", *_MORE_COLUMNS):
        cells = sorted({getattr(first, name), getattr(second, name)} - {""})
        if len(cells) > 1:
            raise ValueError(f"A picture must have one {name}. Received: {first.path}: {' and '.join(cells)} ({where})")
        values[name] = cells[0] if cells else ""
    return Row(first.path, **values)
