"""The labelled pictures that are added to an exported model's memory."""

import dataclasses
import os
import pathlib

from semppl.data.files.label_file import open_quote, plain_path, read_rows


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
        if len(cells["label"].splitlines()) > 1:
            raise open_quote(file, lines, "a label with line breaks")
        if cells["label"]:
            picture, where = file.parent / plain_path(cells["path"]), f"{file}, {lines}"
            if not os.path.isfile(picture):
                raise ValueError(f"--labels must name existing pictures. Received: {picture} ({where})")
            pictures.append(LabelledPicture(picture, cells["label"], where))
    if not pictures:
        raise ValueError(f"--labels must have a labelled picture. Received: {path}, which has none")
    return pictures
