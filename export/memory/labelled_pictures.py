"""The labelled pictures that are added to an exported model's memory."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from semppl.data.files.label_file import class_name, read_rows, spellings


@dataclasses.dataclass(frozen=True)
class LabelledPicture:
    """A picture file with its label.

    Attributes:
        path: Path of the picture.
        label: Name of the class.
        where: File and line that give the label.
    """

    path: pathlib.Path
    label: str
    where: str


def read_labelled_pictures(path: str | pathlib.Path) -> list[LabelledPicture]:
    """Reads a label file as training does; rows without a label are left out.

    Args:
        path: CSV file, with paths relative to its folder.

    Raises:
        ValueError: If the file is no label file, has no labelled picture, or names one that does not exist.
    """
    file, pictures = pathlib.Path(path), []
    for lines, cells in read_rows(file, called="--labels"):
        if cells["label"]:
            candidates, where = [file.parent / path for path in spellings(cells["path"])], f"{file}, {lines}"
            picture = next((path for path in candidates if os.path.isfile(path)), candidates[-1])
            if not os.path.isfile(picture):
                swapped = "; are path and label swapped?" if os.path.isfile(file.parent / cells["label"]) else ""
                raise ValueError(f"--labels must name existing pictures. Received: {picture} ({where}){swapped}")
            pictures.append(LabelledPicture(picture, cells["label"], where))
    if not pictures:
        raise ValueError(f"--labels must have a labelled picture. Received: {path}, which has none")
    return pictures


def numbered(labels: Sequence[str], class_names: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Numbers classes by name, however their letters are composed.

    Args:
        labels: `n` names of classes.
        class_names: Names of the known classes, in the order of their numbers; new ones follow in order of appearance.

    Returns:
        The names of all classes, and int32 `[n]` numbers of the labels.
    """
    known = {class_name(name): name for name in class_names}
    wanted = [known.setdefault(class_name(label), label) for label in labels]
    number = {name: place for place, name in enumerate(dict.fromkeys([*class_names, *wanted]))}
    return tuple(number), np.array([number[name] for name in wanted], np.int32)
