"""Label files: CSV files with the labels, identities and masks of pictures."""

import csv
import dataclasses
import functools
import io
import os
import pathlib
import posixpath
import unicodedata
from collections.abc import Iterator, Sequence

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


def class_name(text: str) -> str:
    """Returns the name of a class as names are compared: in Unicode's composed form (NFC), without blanks around it."""
    return unicodedata.normalize("NFC", text).strip()


def spellings(path: str) -> tuple[str, ...]:
    r"""Returns the paths that a cell may mean, the likeliest first: as it stands, without blanks around it, with `/` for `\`."""
    return tuple(dict.fromkeys((path, path.strip(), plain_path(path.strip()))))


def read_label_file(file: pathlib.Path, folder: pathlib.Path, paths: Sequence[str] = ()) -> dict[str, Row]:
    """Reads the label file of a folder of pictures: the columns path and label, and the optional columns id and mask.

    Args:
        file: CSV file, as `read_rows` takes it.
        folder: Folder that the paths start from.
        paths: Paths of the pictures in the folder, relative to the folder. A cell names one of these if it can: as it stands,
            through a link, or rewritten as by `spellings`.

    Returns:
        Rows by path, in the order of the file. A path may come again if its rows do not contradict each other.

    Raises:
        ValueError: If the file is not a valid label file; the message names the file and the line.
    """
    rows: dict[str, Row] = {}
    pictures = _Pictures(folder, paths)
    for lines, cells in read_rows(file, called="?labels="):
        where = f"{file}, {lines}"
        found = {name: pictures.find(cells.get(name, ""), name, where) for name in ("path", "mask")}
        row = Row(**{**cells, **found})
        rows[row.path] = row if row.path not in rows else _merged(rows[row.path], row, where)
    swapped = next((row.label for row in rows.values() if pictures.has(row.label)), "")
    if swapped and not any(pictures.has(row.path) for row in rows.values()):
        raise ValueError(
            f"{file} must name pictures in the column path. Received: the picture {swapped!r} as a label, and no picture as a "
            "path; are path and label swapped?"
        )
    return rows


class _Pictures:
    """The pictures that a label file can name, by path.

    Args:
        folder: Folder that the paths start from.
        paths: Paths of the pictures in the folder, relative to the folder.
    """

    def __init__(self, folder: pathlib.Path, paths: Sequence[str]) -> None:
        self._folder, self._paths = folder, paths
        self._listed = {canonical(path) for path in paths}
        self._roots = tuple(dict.fromkeys((os.path.abspath(folder), os.path.realpath(folder))))

    @functools.cached_property
    def _by_file(self) -> dict[str, str]:
        """Paths of the pictures by the file that each is, whatever links lead there."""
        return {os.path.realpath(self._folder / path): canonical(path) for path in self._paths}

    def has(self, path: str) -> bool:
        """Returns whether a path, as it stands, is that of a picture in the folder."""
        return canonical(path) in self._listed

    def find(self, cell: str, column: str, where: str) -> str:
        """Returns the path that a cell names, in composed form; if there is no such picture, the path that the cell spells.

        Raises:
            ValueError: If the cell names no picture, and leads out of the folder.
        """
        if not cell.strip():
            return ""
        inside = [self._relative(spelling) for spelling in spellings(cell)]
        for path in inside:
            if path in self._listed:
                return path
        for path in spellings(cell) if self._paths and "\0" not in cell else ():
            place = self._folder / path
            if os.path.isfile(place) and os.path.realpath(place) in self._by_file:
                return self._by_file[os.path.realpath(place)]
        if inside[-1].split("/")[0] == ".." or "\0" in inside[-1] or inside[-1] == ".":
            received = f"{cell.strip()!r} ({where})"
            raise ValueError(f"Every {column} must stay below {self._folder}. Received: {received}")
        return inside[-1]

    def _relative(self, path: str) -> str:
        if os.path.isabs(path):
            ways = [os.path.relpath(path, root) for root in self._roots]
            path = next((way for way in ways if not way.startswith("..")), ways[0])
        return canonical(path)


def read_rows(file: pathlib.Path, *, called: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Reads a CSV file with a header that contains path and label, in any order, upper or lower case.

    Args:
        file: CSV file in UTF-8, with or without a byte-order mark, with any line endings.
        called: Name of the option that gives the file, for errors.

    Yields:
        Place of a row in the file, such as "line 4", and the row's cells by column: paths and masks as they stand, others without
        blanks around them, labels as `class_name` returns them; empty rows are left out.

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
            cells = {name: values[place] if place < len(values) else "" for name, place in places.items()}
            cells |= {name: class_name(cells[name]) for name in ("label", "id") if name in cells}
            if any(cell.strip() for cell in cells.values()):
                torn = [name for name, cell in cells.items() if len(cell.strip().splitlines()) > 1]
                if torn:
                    raise _open_quote(file, lines, f"a {torn[0]} with line breaks")
                if not cells["path"].strip():
                    raise ValueError(f"Every row must name a picture. Received: an empty path ({file}, {lines})")
                yield lines, cells
            end = reader.line_num
    except csv.Error as error:
        raise _open_quote(file, _lines(end + 1, reader.line_num), str(error)) from error


def plain_path(path: str) -> str:
    """Returns a path of a label file with `/` between its parts, and without redundant ones."""
    return posixpath.normpath(path.replace("\\", "/"))


def _open_quote(file: pathlib.Path, lines: str, problem: str) -> ValueError:
    """Returns the error for rows that cannot be separated, usually because of an unclosed quote."""
    return ValueError(f"{file} must be a CSV file. Received: {lines}: {problem}; a quote may be open")


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


def _merged(first: Row, second: Row, where: str) -> Row:
    values = {}
    for name in ("label", *_MORE_COLUMNS):
        cells = sorted({getattr(first, name), getattr(second, name)} - {""})
        if len(cells) > 1:
            raise ValueError(
                f"A picture must have one {name}. Received: {first.path}: {' and '.join(map(repr, cells))} ({where})"
            )
        values[name] = cells[0] if cells else ""
    return Row(first.path, **values)
