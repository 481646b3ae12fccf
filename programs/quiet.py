"""Keeps programs quiet: each imports this before TensorFlow; what its user can mend is told in a line."""

import contextlib
import errno
import functools
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # else TensorFlow greets with a dozen lines


def hush() -> None:
    """Lets libraries log warnings at least, TensorFlow's Python only errors."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # tensorflow-datasets, for one, tells where it looked in vain
    logging.getLogger("tensorflow").setLevel("ERROR")  # of slow callbacks, assets, variables that nobody asked for


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Hushes libraries for a while, and leaves the log levels as they were."""
    former = absl_logging.get_verbosity(), logging.getLogger("tensorflow").level
    hush()
    try:
        yield
    finally:
        absl_logging.set_verbosity(former[0])
        logging.getLogger("tensorflow").setLevel(former[1])


def program(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """Decorates a program's `main`: hushes libraries, and turns an error that its user can mend into one line on stderr.

    Args:
        main: takes the arguments that are left when flags are parsed, the program's name first; returns the exit code.

    Returns:
        The same, but ValueError, OSError and what says that a disk is full are exit code 2, an interruption is 130, and arguments
        that are no flags are refused, unless it is decorated with `takes_arguments`.
    """

    @functools.wraps(main)
    def quiet_main(argv: list[str]) -> int:
        hush()
        try:
            if argv[1:] and quiet_main not in _TAKE_ARGUMENTS:
                raise ValueError(f"Arguments must be flags, --name=value. Received: {' '.join(argv[1:])}")
            return main(argv)
        except (ValueError, OSError) as error:
            told = _told(error)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr, flush=True)
            return 130
        except Exception as error:  # of TensorFlow, FAISS and Beam, which have no errors of the file system's own
            if not any(os.strerror(number) in str(error) for number in _UNWRITABLE):
                raise
            told = _told(error)
        print(f"error: {told}", file=sys.stderr, flush=True)
        return 2

    return quiet_main


def run(main: Callable[[list[str]], int], **options: Any) -> None:
    """Is `app.run(main)`, with the flags of main's module in `--help` for a console script too."""
    if main.__module__ != "__main__":
        for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(main, **options)


def takes_arguments(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """Decorates, after `program`, a `main` that takes arguments that are no flags."""
    _TAKE_ARGUMENTS.add(main)
    return main


_TAKE_ARGUMENTS: set[Callable[[list[str]], int]] = set()
_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (*_FULL, errno.EROFS)
_WRITTEN = ("out", "export_dir", "workdir")


def _told(error: Exception) -> str:
    """Says what is wrong, and, where something cannot be written, which flag names it."""
    text = str(error)
    if text.startswith("--"):
        return text
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        text = str(error.args[0][0][-1])  # the first of many
    numbers = [*_UNWRITABLE, *((errno.EACCES,) if isinstance(error, PermissionError) else ())]
    number = next((number for number in numbers if os.strerror(number) in text), None)
    if number is None:
        return text
    values = {name: flags.FLAGS[name].value for name in _WRITTEN if name in flags.FLAGS}
    given = {f"--{name}={path}": os.path.abspath(path) for name, path in values.items() if path}
    where = getattr(error, "filename", None)
    if where:  # else a library wrote to what is given: a program writes to one of these flags
        given = {flag: path for flag, path in given.items() if _is_near(os.path.abspath(os.fsdecode(where)), path)}
    if len(given) != 1:
        return text
    rest = "; make room, or choose another place" if number in _FULL else ""
    return f"{next(iter(given))} cannot be written: {os.strerror(number)}{f' ({where})' if where else ''}{rest}"


def _is_near(path: str, given: str) -> bool:
    """Tells whether a path is the given one, below it, a folder that it is in, or what is renamed to it when it is whole."""
    above = os.path.commonpath([path, given])
    rest = os.path.relpath(path, os.path.dirname(given)).partition(os.sep)[0]
    return above in (given, path) or rest.startswith(f".{os.path.basename(given)}")
