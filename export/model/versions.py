"""Folders that are whole or not there; of a served model: `<name>/<version>/`."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator


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
    with written_aside(target) as folder:
        yield folder


@contextlib.contextmanager
def written_aside(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Makes a folder to write in, and renames it when it is whole.

    Args:
        target: folder that it becomes; not there, or empty.

    Yields:
        The folder to write in; it vanishes if something goes wrong, and so do folders around it that were not there before.
    """
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield aside
        aside.chmod(0o755)
        os.rename(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody else has written there meanwhile
            for folder in made:
                folder.rmdir()
        raise
