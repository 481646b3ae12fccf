"""Versions of a served model: folders `<name>/<version>/` that are complete or absent."""

import contextlib
import pathlib
from collections.abc import Iterator

from semppl.programs import menu
from semppl.runs.files import folder_written_aside, require_plain

_LARGEST = 2**63 - 1


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
    require_new(export_dir, flag=flag)
    with folder_written_aside(pathlib.Path(export_dir)) as folder:
        yield folder


def serving_commands(version: str | pathlib.Path) -> str:
    """Returns the lines "next:" and the command lines that serve a version and send a picture to the server."""
    base = pathlib.Path(version).parent
    name = f"--model_name={base.absolute().name}"
    commands = menu.command("serve", name, f"--model_base_path={base}"), menu.command("client", name, "PICTURE.jpg")
    return "\n  ".join(("next:", *commands))


def require_new(export_dir: str | pathlib.Path, *, flag: str) -> None:
    """Checks that a folder can become a version of a served model.

    Args:
        export_dir: Folder of the version.
        flag: Flag that names the folder, for error messages.

    Raises:
        ValueError: if the folder exists, or its name is not a number.
    """
    target = pathlib.Path(export_dir)
    if not (target.name.isascii() and target.name.isdecimal() and int(target.name) <= _LARGEST):
        raise ValueError(
            f"{flag} must end in a version number, in 0..{_LARGEST}, as TensorFlow Serving wants it. Received: {export_dir}"
        )
    require_plain(target, flag.removeprefix("--"))
    if target.exists():
        raise ValueError(f"{flag} must be a new folder; a served version never changes. Received: {export_dir}")
