"""Atomic folders: complete or absent; a served model's is `<name>/<version>/`."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def new_version(export_dir: str | pathlib.Path, *, flag: str) -> Iterator[pathlib.Path]:
    """Creates a version of a served model atomically: a server never sees an incomplete one.

    Args:
        export_dir: Folder of the version, which must not exist; its name is the version number.
        flag: Flag that names the folder, for error messages.

    Yields:
        A temporary folder to write to, renamed at the end. After an error it is removed, with any parent that was created.

    Raises:
        ValueError: if the folder exists, or its name is not a number.
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
    """Creates a folder atomically.

    Args:
        target: Folder to create; must be absent or empty.

    Yields:
        A temporary folder to write to, renamed at the end. After an error it is removed, with any parent that was created.
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
        with contextlib.suppress(OSError):  # another process wrote there in the meantime
            for folder in made:
                folder.rmdir()
        raise
