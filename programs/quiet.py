"""Quiet command-line programs: no log lines of libraries, and one-line errors. Programs import this before TensorFlow."""

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator

from absl import app, flags
from absl import logging as absl_logging

from semppl.programs import command_line
from semppl.runs.files import error_text, write_problem

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # otherwise TensorFlow logs a dozen lines at import


def hush() -> None:
    """Sets the log level of absl to warnings, and of TensorFlow's Python code to errors."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # tensorflow-datasets logs every folder that it searches
    logging.getLogger("tensorflow").setLevel("ERROR")  # no warnings of slow callbacks, assets and unused variables


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Applies `hush` within a `with` block, and restores the log levels."""
    former = absl_logging.get_verbosity(), logging.getLogger("tensorflow").level
    hush()
    try:
        yield
    finally:
        absl_logging.set_verbosity(former[0])
        logging.getLogger("tensorflow").setLevel(former[1])


def program(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """Decorates a program's `main`: hushes libraries, and turns an error that the user can correct into one line on stderr.

    Args:
        main: Function of the program's name and the arguments that are not flags; returns the exit code.

    Returns:
        A function that returns exit code 2 for ValueError, OSError and any error about a full disk, and 130 for an interruption.
        Arguments that are not flags are errors, unless the function is decorated with `takes_arguments`.
    """

    @functools.wraps(main)
    def quiet_main(argv: list[str]) -> int:
        hush()
        try:
            if argv[1:] and quiet_main not in _TAKE_ARGUMENTS:
                raise ValueError(f"Arguments must be flags, --name=value. Received: {' '.join(argv[1:])}")
            return main(argv)
        except (ValueError, OSError) as error:
            message = _message(error)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr, flush=True)
            return 130
        except Exception as error:
            if write_problem(error) is None:
                raise
            message = _message(error)
        print(f"error: {message}", file=sys.stderr, flush=True)
        return 2

    return quiet_main


def run(main: Callable[[list[str]], int], parser: Callable[[list[str]], list[str]] = command_line.parse) -> None:
    """Runs a program with `app.run` and one-line errors; `--help` of a console script lists the flags of main's module."""
    if main.__module__ != "__main__":
        for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(main, flags_parser=parser)


def takes_arguments(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """Decorates a `main` that takes arguments that are not flags; applied after `program`."""
    _TAKE_ARGUMENTS.add(main)
    return main


_TAKE_ARGUMENTS: set[Callable[[list[str]], int]] = set()
_WRITTEN = ("out", "export_dir", "workdir")


def _message(error: Exception) -> str:
    """Returns the error's message; if a file cannot be written, with the flag that names the file or its folder."""
    if str(error).startswith("--"):
        return str(error)
    problem = write_problem(error)
    if problem is None:
        return error_text(error)
    values = {name: flags.FLAGS[name].value for name in _WRITTEN if name in flags.FLAGS}
    places = {f"--{name}={path}": os.path.abspath(path) for name, path in values.items() if path}
    if problem.path:  # without a path, a library wrote to the path of one of these flags
        written = os.path.abspath(problem.path)
        places = {flag: path for flag, path in places.items() if _is_near(written, path)}
    if len(places) != 1:
        return error_text(error)
    where = f" ({problem.path})" if problem.path else ""
    rest = "; make room, or choose another place" if problem.full else ""
    return f"{next(iter(places))} cannot be written: {problem.reason}{where}{rest}"


def _is_near(path: str, place: str) -> bool:
    """Returns whether a path is the place, below it, a folder around it, or a folder that is renamed to it when complete."""
    above = os.path.commonpath([path, place])
    rest = os.path.relpath(path, os.path.dirname(place)).partition(os.sep)[0]
    return above in (place, path) or rest.startswith(f".{os.path.basename(place)}")
