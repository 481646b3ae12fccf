"""Quiet command-line programs: no log lines of libraries, and one-line errors. Programs import this before TensorFlow."""

import contextlib
import functools
import logging
import os
import signal
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from semppl.programs import command_line, menu
from semppl.programs.process import home, quiet_import, streams
from semppl.runs.files import error_text, require_writable, write_problem

flags.disclaim_key_flags()  # --help lists flags that `parse_flags` defines under the program

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # otherwise TensorFlow logs a dozen lines at import
quiet_import.install()


def hush() -> None:
    """Ignores Python's warnings, and sets the log level of absl to warnings and of TensorFlow's Python code to errors."""
    warnings.simplefilter("ignore")  # scikit-learn and NumPy warn of what a user of a program cannot change
    absl_logging.set_verbosity(absl_logging.WARNING)  # tensorflow-datasets logs every folder that it searches
    logging.getLogger("tensorflow").setLevel("ERROR")  # no warnings of slow callbacks, assets and unused variables


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Applies `hush` within a `with` block, and restores the log levels."""
    former = absl_logging.get_verbosity(), logging.getLogger("tensorflow").level
    with warnings.catch_warnings():
        hush()
        try:
            yield
        finally:
            absl_logging.set_verbosity(former[0])
            logging.getLogger("tensorflow").setLevel(former[1])


def parse_flags(
    module: str,
    *,
    required: Sequence[str] = (),
    define: Callable[[], None] | None = None,
    check: Callable[[], object] | None = None,
    arguments: bool | Callable[[], bool] = False,
    parser: Callable[[list[str]], list[str]] = command_line.parse,
    flags_of: str = "",
) -> None:
    """Parses the command line if a module is the program of this process; programs call this before TensorFlow is imported.

    Importing TensorFlow takes seconds. `--help` and a wrong flag therefore end the process here.

    Args:
        module: `__name__` of the module.
        required: Names of flags that must be set.
        define: Function that defines further flags, whose names another program uses, too.
        check: Function that raises ValueError if the values do not suit each other.
        arguments: Whether the program takes arguments that are not flags, or a function that returns this once flags are parsed.
        parser: Function from a command line to the arguments that are not flags.
        flags_of: Name of another program's module, if this program takes that one's flags, too. The command line is then parsed
            when that module, which is imported next, has defined its flags and calls this function.
    """
    if module in _waiting:
        _waiting.pop(module)()
        return
    if not menu.is_started(module):
        return
    if flags_of:
        settings: dict[str, Any] = {"required": required, "define": define, "check": check}
        _waiting[flags_of] = functools.partial(parse_flags, module, arguments=arguments, parser=parser, **settings)
        return
    streams.make_lenient()
    home.ensure_home()
    _end_in_a_word()
    flags.mark_flags_as_required(required)
    if define:
        define()
    if module != "__main__":  # a console script, whose --help lists the flags of the module
        sys.modules["__main__"].__doc__ = sys.modules[module].__doc__
        for flag in flags.FLAGS.get_key_flags_for_module(module):
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.define_help_flags()
    _command_line[:] = _parsed(parser)
    try:
        if _command_line[1:] and not (arguments() if callable(arguments) else arguments):
            raise ValueError(f"Arguments must be flags, --name=value. Received: {' '.join(_command_line[1:])}")
        if check:
            check()
        _require_writable_outputs()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    warnings.simplefilter("ignore")
    if sys.stderr.isatty():
        print(f"{_LOADING}\r", end="", file=sys.stderr, flush=True)


def _parsed(parser: Callable[[list[str]], list[str]]) -> list[str]:
    """Parses the command line; --help ends with exit code 0, not with absl's 1."""
    try:
        return parser(sys.argv)
    except SystemExit as end:
        if end.code == 1:
            sys.stdout.flush()
            sys.exit(0)
        raise


_waiting: dict[str, Callable[[], None]] = {}
"""Parsing of the command line of this process's program, by the name of the module whose flags are awaited."""

_LOADING = "loading TensorFlow …"

_command_line: list[str] = []
"""Name of the program and its arguments that are not flags, once parsed."""


_former: dict[int, Any] = {}
"""Handlers of signals that were in place before `parse_flags`."""


def _end_in_a_word() -> None:
    """Makes a signal end the process without a traceback while libraries are imported."""

    def end(number: int, frame: types.FrameType | None) -> None:
        del frame
        if number == signal.SIGINT:
            os.write(2, b"interrupted\n")
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            _former[number] = signal.signal(number, end)


def program(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """Decorates a program's `main`: hushes libraries, and turns an error that the user can correct into one line on stderr.

    Args:
        main: Function of the program's name and the arguments that are not flags; returns the exit code.

    Returns:
        A function that returns exit code 2 for ValueError, OSError and any error about a full disk, and 130 for an interruption.
    """

    @functools.wraps(main)
    def quiet_main(argv: list[str]) -> int:
        hush()
        try:
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


def run(main: Callable[[list[str]], int]) -> None:
    """Runs a program whose flags are parsed with `app.run`, which exits with the code that `main` returns."""
    for number, handler in _former.items():
        signal.signal(number, handler)
    if _command_line and sys.stderr.isatty():
        print(f"{' ' * len(_LOADING)}\r", end="", file=sys.stderr, flush=True)
    app.run(main, flags_parser=lambda argv: _command_line or command_line.parse(argv))


_OUTPUTS = {"out": "folder", "export_dir": "folder", "predictions": "file"}
"""Flags that name what a program writes, and what each is; --workdir may also be read."""

_WRITTEN = (*_OUTPUTS, "workdir")


def _require_writable_outputs() -> None:
    """Refuses outputs that cannot be written, before the work begins; those of other file systems are not tried."""
    for name, kind in _OUTPUTS.items():
        path = flags.FLAGS[name].value if name in flags.FLAGS else None
        if path and "://" not in path:
            require_writable(path, name, "file" if path.endswith(".html") else kind)


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
