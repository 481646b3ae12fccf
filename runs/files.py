"""Files and folders that are whole or absent, locks, and errors of the disk.

TensorFlow is not imported here: every program loads this module first.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (*_FULL, errno.EROFS)
_PATTERNS = "*?[\\"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


def require_plain(path: str | os.PathLike[str], flag: str) -> None:
    """Refuses a path that TensorFlow, which looks for checkpoints and models by patterns, would not find again.

    Args:
        path: Path of a file or folder, as TensorFlow receives it.
        flag: Name of the flag that gives the path, for the error.

    Raises:
        ValueError: If the path contains a character of patterns.
    """
    if set(os.fspath(path)) & set(_PATTERNS):
        raise ValueError(
            f"--{flag} must be a path without {' '.join(_PATTERNS)}, which TensorFlow takes for a pattern: rename the folder, or "
            f"name it from inside. Received: {os.fspath(path)}"
        )


def require_writable(path: str | os.PathLike[str], flag: str, kind: str = "folder") -> None:
    """Checks that a file or folder can be written, and leaves nothing behind.

    Args:
        path: Path of the file or folder; where it is absent, the nearest folder above it must be writable.
        flag: Name of the flag that gives the path, for the error.
        kind: "folder" or "file", for the error.

    Raises:
        ValueError: If a file cannot be created there.
    """
    place = pathlib.Path(path).absolute()
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing.parent if existing == place and place.is_file() else existing):
            pass
    except OSError as error:
        raise ValueError(
            f"--{flag} must be a {kind} that can be written. Received: {os.fspath(path)} ({error.strerror})"
        ) from error


def make_writable_folder(folder: pathlib.Path, flag: str) -> None:
    """Makes a folder, with those above it, if it is absent.

    Raises:
        ValueError: If the folder cannot be made, or no file can be created in it; see `require_writable`.
    """
    require_plain(folder, flag)
    require_writable(folder, flag)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--{flag} must be a folder that can be written. Received: {folder} ({error.strerror})"
        ) from error


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Writes a small text file so that a reader, or a killed run, never sees half of it."""
    with file_written_aside(path) as file:
        file.write(text.encode("utf-8"))


@contextlib.contextmanager
def file_written_aside(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a new file in the same folder, and renames it to `path` when it is complete and on disk.

    Args:
        path: Path of the file to write or replace.

    Yields:
        The binary file to write to; it is removed, and `path` stays as it was, if the context ends with an error.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def require_new_folder(out: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path of the folder that --out names.

    Raises:
        ValueError: If the folder exists.
    """
    require_plain(out, "out")
    if pathlib.Path(out).exists():
        raise ValueError(f"--out must be a new folder. Received: {out}")
    return pathlib.Path(out)


@contextlib.contextmanager
def folder_written_aside(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Makes a folder to write in, and renames it to `target` when it is complete.

    Args:
        target: Path of a folder that is absent or empty; missing folders above it are made.

    Yields:
        The folder to write in; it is removed, with the folders made above it, if the context ends with an error.
    """
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield aside
        settle(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process has written there meanwhile
            for folder in made:
                folder.rmdir()
        raise


def settle(aside: pathlib.Path, target: pathlib.Path) -> None:
    """Renames a complete folder to its final path, readable for everyone."""
    aside.chmod(0o755)
    os.rename(aside, target)


@contextlib.contextmanager
def locked(path: pathlib.Path, *, wait: bool) -> Iterator[None]:
    """Holds a lock that ends with the process, however it ends; a file system without locks grants every lock.

    Args:
        path: Path of the lock file, made if it is absent.
        wait: Whether to wait for a process that holds the lock.

    Raises:
        BlockingIOError: If another process holds the lock and `wait` is false.
    """
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield


@contextlib.contextmanager
def disk_errors_as(translate: Callable[[str], Exception], *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Replaces an error of the file system, or of TensorFlow's, by one that names the flag and the remedy.

    Args:
        translate: Function from the reason, in one line, to the error to raise.
        but: Types of errors that pass unchanged.
    """
    try:
        yield
    except but:
        raise
    except Exception as error:
        if not isinstance(error, _disk_errors()):
            raise
        raise translate(_reason(error)) from error


def _disk_errors() -> tuple[type[Exception], ...]:
    tensorflow = sys.modules.get("tensorflow")  # where it is not loaded, it cannot raise either
    return (OSError, tensorflow.errors.OpError) if tensorflow else (OSError,)


def _reason(error: Exception) -> str:
    """Returns the system's own words, without TensorFlow's list of paths and the name of its operation."""
    text = str(error.strerror if isinstance(error, OSError) else getattr(error, "message", error))
    return text.splitlines()[0].rpartition("; ")[2].partition(" [Op:")[0]


@dataclasses.dataclass(frozen=True)
class WriteProblem:
    """A path that cannot be written.

    Attributes:
        reason: The system's words for it.
        path: Path that could not be written, or None where the library that failed does not name it.
        full: Whether there is no room, rather than no permission.
    """

    reason: str
    path: str | None
    full: bool


def write_problem(error: Exception) -> WriteProblem | None:
    """Recognises an error that means that something cannot be written, whichever library raised it.

    TensorFlow, FAISS and Beam have no errors of the file system's own: the system's words within the message decide.
    """
    numbers = [*_UNWRITABLE, *((errno.EACCES,) if isinstance(error, PermissionError) else ())]
    text = error_text(error)
    number = next((number for number in numbers if os.strerror(number) in text), None)
    if number is None:
        return None
    name = getattr(error, "filename", None)
    return WriteProblem(os.strerror(number), os.fsdecode(name) if name else None, number in _FULL)


def error_text(error: Exception) -> str:
    """Returns an error's message; of the many that a copy of a folder raises at once, the first."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return str(error)


def read_json_lines(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a file with one in each line, without a line that a kill cut short; nothing if there is no file."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry
