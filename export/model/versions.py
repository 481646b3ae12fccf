"""Versions of a served model: folders `<name>/<version>/` that are complete or absent."""

import contextlib
import pathlib
from collections.abc import Iterator

from semppl.runs.files import folder_written_aside


@contextlib.contextmanager
def new_version(export_dir: str | pathlib.Path, *, flag: str) -> Iterator[pathlib.Path]:
    """Makes a folder to write a version in, and renames it when it is whole: a server never sees half of one.

    Args:
        export_dir: folder to write; its last part is the version.
        flag: what asked for it, for the error.

    Yields:
        The folder to write in; it vanishes if something goes wrong, and so do folders around it that were not there before.

    Raises:
        ValueError: if the folder is there already, or is no version number.
    """
    target = pathlib.Path(export_dir)
    if not target.name.isdecimal():
        raise ValueError(f"{flag} must end in a version number, as TensorFlow Serving wants it. Received: {export_dir}")
    if target.exists():
        raise ValueError(f"{flag} must be a new folder; a served version never changes. Received: {export_dir}")
    with folder_written_aside(target) as folder:
        yield folder
