"""Listing of a folder of pictures: the files at any depth, with labels from a CSV file or from the sub-folders."""

import dataclasses
import os
import pathlib
import re
import stat

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.files.decoding import EXTENSIONS
from semppl.data.files.label_file import Row, canonical, class_name, read_label_file
from semppl.data.files.left_out import Walked, remarks_on_classes, remarks_on_files, remarks_on_ids

_MARKER = "?labels="
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
        remarks: What is left out or looks like a mistake, in words.
    """

    root: pathlib.Path
    paths: tuple[str, ...]
    rows: tuple[Row, ...]
    rows_without_file: tuple[str, ...] = ()
    files_without_row: int = 0
    unreadable: tuple[str, ...] = ()
    others: int = 0
    remarks: tuple[str, ...] = ()

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
    root, labels = folder_of(argument)
    given = argument.removeprefix(_MARKER) == argument != ""
    if not given or not root.is_dir():
        raise ValueError(
            f"--{flag} must name an existing folder after folder:. Received: {root if given else 'nothing'}{_meant(str(root))}"
        )
    walked = _walk(root)
    paths, unreadable, others = walked.paths, walked.unreadable, sum(walked.endings.values())
    if not paths:
        kinds = " ".join(sorted(EXTENSIONS))
        but = f" that can be opened ({unreadable[0]})" if unreadable else ""
        but += "".join(f"; {remark}" for remark in remarks_on_files(walked))
        raise ValueError(f"--{flag} must be a folder with a picture in it ({kinds}). Received: {root}, with none{but}")
    if labels == BY_FOLDER:
        rows = tuple(Row(path, class_name(path.split("/")[0]) if "/" in path else "") for path in paths)
        remarks = (*remarks_on_files(walked), *remarks_on_classes(root, {row.label for row in rows} - {""}))
        return Folder(root, paths, rows, (), 0, unreadable, others, remarks)
    labelled = read_label_file(_label_file(root, labels, flag), root, paths) if labels else {}
    masks = {canonical(row.mask) for row in labelled.values() if row.mask} - {canonical(path) for path in labelled}
    pictures = tuple(path for path in paths if canonical(path) not in masks)
    paths, others = pictures, others + len(paths) - len(pictures)
    by_path = {canonical(path): path for path in paths}
    rows = tuple(labelled.get(canonical(path), Row(path, "")) for path in paths)
    named = tuple(path for path in labelled if path not in by_path)
    missing = tuple(path for path in named if not os.path.exists(root / path))
    unnamed = sum(canonical(path) not in labelled for path in paths) if labels else 0
    remarks = (*remarks_on_files(walked, named=len(named) - len(missing)), *remarks_on_ids(rows))
    return Folder(root, paths, rows, missing, unnamed, unreadable, others, remarks)


def folder_of(argument: str) -> tuple[pathlib.Path, str]:
    """Splits `PATH?labels=LABELS` into the folder and LABELS, which may be empty; an existing path is taken as it stands."""
    whole = pathlib.Path(argument).expanduser()
    before, marker, after = argument.rpartition(_MARKER)
    return (whole, "") if not marker or whole.is_dir() else (pathlib.Path(before).expanduser(), after)


def exists(argument: str) -> bool:
    """Returns whether `PATH?labels=LABELS` names a folder that exists, with labels that exist."""
    root, labels = folder_of(argument)
    return bool(argument) and root.is_dir() and (labels in ("", BY_FOLDER) or _found_labels(root, labels) is not None)


def _found_labels(root: pathlib.Path, labels: str) -> pathlib.Path | None:
    return next((place for place in _label_places(root, labels) if os.path.isfile(place)), None)


def _label_places(root: pathlib.Path, labels: str) -> tuple[pathlib.Path, ...]:
    return root / labels, pathlib.Path(labels).expanduser()


def _meant(path: str) -> str:
    """Returns what was probably meant by a folder with another option than ?labels=; empty if there is no option."""
    if meant := flags_meant(path):
        return meant
    option = re.fullmatch(r"(.+)\?(\w+)=(.*)", path, re.DOTALL)
    return f"; did you mean folder:{option[1]}?labels={option[3]}?" if option else ""


def flags_meant(text: str) -> str:
    """Returns the flags that were probably meant by options of a source, `…?NAME=VALUE&NAME=VALUE`, that are names of flags."""
    flags = {field.name for field in dataclasses.fields(Hyperparameters)}
    options = re.findall(r"[?&](\w+)=([^?&]*)", text)
    meant = " ".join(f"--{name}={value}" for name, value in options if name in flags)
    return f"; did you mean {meant}, a flag of its own?" if meant else ""


def _label_file(root: pathlib.Path, labels: str, flag: str) -> pathlib.Path:
    found = _found_labels(root, labels)
    if found is None:
        places = _label_places(root, labels)
        tried = " and no ".join(dict.fromkeys(os.path.abspath(place) for place in places))
        raise ValueError(
            f"--{flag} must name a CSV file after ?labels=, relative to the folder or to the working directory, or "
            f"`{BY_FOLDER}`. Received: {labels}, but there is no {tried}{flags_meant(labels)}"
        )
    return found


def _size_and_time(path: pathlib.Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        return str(error.errno)
    return f"{status.st_size} {status.st_mtime_ns}"


def _walk(root: pathlib.Path) -> Walked:
    """Lists the pictures below the root, and counts what is left out.

    Links are followed; no folder is entered twice, so that a loop of links ends.
    """
    walked = Walked()
    paths: list[str] = []
    unreadable: list[str] = []
    entered = set()

    def refused(error: OSError) -> None:
        unreadable.append(f"{error.filename}: {error.strerror}")

    for folder, children, names in os.walk(root, followlinks=True, onerror=refused):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            children.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        walked.hidden += [os.path.join(folder, name) for name in sorted(children) if name.startswith(".")]
        children[:] = sorted(name for name in children if not name.startswith("."))
        for name in names:
            path = pathlib.Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in EXTENSIONS:
                walked.endings[path.suffix.lower()] += 1
                walked.spellings.setdefault(path.suffix.lower(), set()).add(path.suffix)
                continue
            try:
                reason = "" if stat.S_ISREG(path.stat().st_mode) else "no regular file"
            except OSError as error:
                reason = "a link to nothing" if path.is_symlink() else str(error.strerror)
            if reason:
                unreadable.append(f"{path}: {reason}")
            else:
                paths.append(path.relative_to(root).as_posix())
    walked.paths, walked.unreadable = tuple(sorted(paths)), tuple(unreadable)
    return walked
