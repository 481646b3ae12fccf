"""Listing of a folder of pictures: the files at any depth, with labels from a CSV file or from the sub-folders."""

import dataclasses
import os
import pathlib
import re
import stat

from semppl.data.files.decoding import EXTENSIONS
from semppl.data.files.label_file import Row, canonical, read_label_file

BY_FOLDER = "folders"
"""Value of `?labels=` with which the first sub-folder is the class."""


@dataclasses.dataclass(frozen=True)
class Folder:
    """The picture files of a folder, sorted by path.

    Attributes:
        root: Path of the folder.
        paths: Paths of the pictures, relative to `root`.
        rows: Row of the CSV file for each picture; a row without a label for pictures that the CSV file does not name.
        rows_without_file: Paths in the CSV file for which there is no picture.
        files_without_row: Number of pictures that the CSV file does not name.
        unreadable: Files, folders and links that cannot be opened, each with the reason.
        others: Number of other files: without the extension of a picture, or masks of the CSV file.
    """

    root: pathlib.Path
    paths: tuple[str, ...]
    rows: tuple[Row, ...]
    rows_without_file: tuple[str, ...] = ()
    files_without_row: int = 0
    unreadable: tuple[str, ...] = ()
    others: int = 0

    @property
    def place(self) -> str:
        """Path of the folder."""
        return str(self.root)

    def read(self, number: int) -> bytes:
        """Returns the bytes of a picture file."""
        return (self.root / self.paths[number]).read_bytes()

    def mask(self, number: int) -> bytes:
        """Returns the bytes of the mask of a picture; empty if there is none."""
        path = self.rows[number].mask
        return (self.root / path).read_bytes() if path else b""

    def state(self) -> str:
        """Returns the names, sizes and modification times of the files as one string."""
        parts = [part for path, row in zip(self.paths, self.rows, strict=True) for part in (path, row.mask)]
        return "\n".join(f"{part} {_size_and_time(self.root / part) if part else ''}" for part in parts)


def list_folder(argument: str, *, flag: str = "data") -> Folder:
    """Lists the pictures in a folder, by file extension, at any depth.

    Args:
        argument: `PATH`, `PATH?labels=FILE.csv` or `PATH?labels=folders`; FILE.csv is relative to the folder or to the working
            directory.
        flag: Name of the flag, for errors.

    Raises:
        ValueError: If the folder does not exist or contains no picture, or the label file does not exist.
    """
    before, marker, after = argument.rpartition("?labels=")
    path, labels = (before, after) if marker else (argument, "")
    root = pathlib.Path(path).expanduser()
    if not path or not root.is_dir():
        raise ValueError(f"--{flag} must name a folder after folder:. Received: {path or 'nothing'}{_meant(path)}")
    paths, unreadable, others = _walk(root)
    if not paths:
        kinds = " ".join(sorted(EXTENSIONS))
        but = f" that can be opened ({unreadable[0]})" if unreadable else ""
        raise ValueError(f"--{flag} must be a folder with a picture in it ({kinds}). Received: {root}, with none{but}")
    if labels == BY_FOLDER:
        rows = tuple(Row(path, path.split("/")[0] if "/" in path else "") for path in paths)
        return Folder(root, paths, rows, (), 0, unreadable, others)
    labelled = read_label_file(_label_file(root, labels, flag), root) if labels else {}
    masks = {canonical(row.mask) for row in labelled.values() if row.mask} - {canonical(path) for path in labelled}
    pictures = tuple(path for path in paths if canonical(path) not in masks)
    paths, others = pictures, others + len(paths) - len(pictures)
    by_path = {canonical(path): path for path in paths}
    rows = tuple(labelled.get(canonical(path), Row(path, "")) for path in paths)
    missing = tuple(path for path in labelled if path not in by_path)
    unnamed = sum(canonical(path) not in labelled for path in paths) if labels else 0
    return Folder(root, paths, rows, missing, unnamed, unreadable, others)


def _meant(path: str) -> str:
    """Returns what was probably meant by a folder with another option than ?labels=; empty if there is no option."""
    option = re.fullmatch(r"(.+)\?(\w+)=(.*)", path, re.DOTALL)
    return f"; did you mean folder:{option[1]}?labels={option[3]}?" if option else ""


def _label_file(root: pathlib.Path, labels: str, flag: str) -> pathlib.Path:
    places = (root / labels, pathlib.Path(labels).expanduser())
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        tried = " and no ".join(dict.fromkeys(os.path.abspath(place) for place in places))
        raise ValueError(
            f"--{flag} must name a CSV file after ?labels=, relative to the folder or to the working directory, or "
            f"`{BY_FOLDER}`. Received: {labels}, but there is no {tried}"
        )
    return found


def _size_and_time(path: pathlib.Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        return str(error.errno)
    return f"{status.st_size} {status.st_mtime_ns}"


def _walk(root: pathlib.Path) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Returns the paths of the pictures relative to the root, the places that cannot be opened, and the number of other files.

    Links are followed; no folder is entered twice, so that a loop of links ends.
    """
    paths, unreadable, others, entered = [], [], 0, set()

    def refused(error: OSError) -> None:
        unreadable.append(f"{error.filename}: {error.strerror}")

    for folder, children, names in os.walk(root, followlinks=True, onerror=refused):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            children.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        children[:] = sorted(name for name in children if not name.startswith("."))
        for name in names:
            path = pathlib.Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in EXTENSIONS:
                others += 1
                continue
            try:
                reason = "" if stat.S_ISREG(path.stat().st_mode) else "no regular file"
            except OSError as error:
                reason = "a link to nothing" if path.is_symlink() else str(error.strerror)
            if reason:
                unreadable.append(f"{path}: {reason}")
            else:
                paths.append(path.relative_to(root).as_posix())
    return tuple(sorted(paths)), tuple(unreadable), others
