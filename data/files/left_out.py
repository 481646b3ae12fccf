"""What a listing of a folder leaves out, or what looks like a mistake in it, in words."""

import collections
import dataclasses
import os
import pathlib
import shlex
from collections.abc import Iterable, Sequence

from semppl.configs.wording import counted
from semppl.data.files.decoding import EXTENSIONS
from semppl.data.files.label_file import Row

_CONVERTERS = {  # picture formats that are not read, and how to convert a folder of them
    **dict.fromkeys(
        (".heic", ".heif", ".hif"), "convert them, for example with `mogrify -format jpg {files}` of ImageMagick"
    ),
    **dict.fromkeys(
        (".avif", ".jxl", ".jp2"), "convert them, for example with `mogrify -format png {files}` of ImageMagick"
    ),
    **dict.fromkeys((".psd", ".svg", ".pdf", ".eps", ".ico"), "export them as PNG"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"), "develop them to JPEG or TIFF"),
    **dict.fromkeys((".dcm", ".dicom", ".nii"), "convert them to 8-bit PNG"),
    **dict.fromkeys(
        (".mp4", ".mov", ".avi", ".mkv"), "extract their frames, for example with `ffmpeg -i FILE %05d.jpg`"
    ),
    **dict.fromkeys((".zip", ".tar", ".gz", ".rar", ".7z"), "unpack them"),
}
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
_THUMBNAILS = {"@eaDir", "__MACOSX", "thumbnails", "#recycle"}
_SHOWN = 5


@dataclasses.dataclass
class Walked:
    """The files below a folder.

    Attributes:
        paths: Paths of the pictures, relative to the folder, sorted.
        unreadable: Files, folders and links that cannot be opened, each with the reason.
        endings: Number of other files by extension, in lower case.
        spellings: Extensions of other files as they stand, by extension in lower case.
        hidden: Paths of the folders that were not entered because their names begin with a dot.
    """

    paths: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    endings: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    spellings: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    hidden: list[str] = dataclasses.field(default_factory=list)


def remarks_on_files(walked: Walked, *, named: int = 0) -> tuple[str, ...]:
    """Returns a remark per kind of file that is left out.

    Args:
        walked: Files of a folder.
        named: Number of files that the label file names, that exist, and that are left out.
    """
    remarks = [
        f"{counted(count, 'file')} ending in {ending} {'are' if count > 1 else 'is'} not read: "
        + _CONVERTERS[ending].format(files=" ".join(f"*{spelt}" for spelt in sorted(walked.spellings[ending])))
        for ending, count in sorted(walked.endings.items())
        if ending in _CONVERTERS
    ]
    if named:
        remarks.append(f"{named} in the CSV exist, but are not read")
    shut = [os.path.basename(folder) for folder in walked.hidden if _has_picture(folder)]
    if shut:
        remarks.append(
            f"folders with pictures are left out, since their names begin with a dot: {_few(shut)}; rename them"
        )
    inside = {part for path in walked.paths for part in path.split("/")[:-1]} & _THUMBNAILS
    if inside:
        remarks.append(f"pictures in {_few(sorted(inside))} look like thumbnails or copies; remove them")
    return tuple(remarks)


def how_to_convert(path: str | os.PathLike[str]) -> str:
    """Returns the way to make a picture of a file whose extension is not read; empty if none is known."""
    name = pathlib.Path(path)
    return _CONVERTERS.get(name.suffix.lower(), "").replace(" them", " it").format(files=shlex.quote(str(name)))


def remarks_on_classes(root: pathlib.Path, names: Iterable[str]) -> tuple[str, ...]:
    """Returns a remark if sub-folders that stand for classes look like splits of a data set."""
    splits = sorted(name for name in names if name.lower() in _SPLITS)
    if len(splits) < 2:
        return ()
    return (
        f"the classes {_few(splits)} look like splits; name each by itself, as in folder:{root / splits[0]}?labels=folders",
    )


def remarks_on_ids(rows: Sequence[Row]) -> tuple[str, ...]:
    """Returns a remark if the column id is constant in every class, so that no image of a class is left to vote for another."""
    ids = collections.defaultdict(set)
    counts = collections.Counter(row.label for row in rows if row.label)
    for row in rows:
        if row.label:
            ids[row.label].add(row.id)
    several = [label for label, count in counts.items() if count > 1]
    if not several or any(len(ids[label]) > 1 or "" in ids[label] for label in several):
        return ()
    return (
        "the column id is constant within each class, so that all pictures of a class count as one thing: they never vote for "
        "each other and are held out together; leave the column out unless it names single things",
    )


def _has_picture(folder: str) -> bool:
    return any(os.path.splitext(name)[1].lower() in EXTENSIONS for _, _, names in os.walk(folder) for name in names)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more
