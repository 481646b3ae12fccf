"""The parser of every program's command line: an error in a flag is one line on stderr, with exit code 2."""

import os
import re
import sys
from typing import Any

from absl import flags

from semppl.programs import presets


def parse(argv: list[str]) -> list[str]:
    """Parses a command line; the `flags_parser` of `app.run`.

    Args:
        argv: Name of the program and its arguments.

    Returns:
        The name of the program and the arguments that are not flags.

    Raises:
        SystemExit: With code 2, after one line on stderr, if a flag is unknown or missing, or its value is not allowed.
    """
    return _parse(argv, known_only=False)


def parse_known(argv: list[str]) -> list[str]:
    """Parses the defined flags, and returns all others as arguments, for a library that parses them."""
    return _parse(argv, known_only=True)


def _parse(argv: list[str], *, known_only: bool) -> list[str]:
    try:
        rest: list[str] = flags.FLAGS(presets.expand(argv), known_only=known_only)
        _expand_homes()
        return rest
    except flags.Error as error:
        message = _explain(error)
    except ValueError as error:  # there is no such preset
        message = str(error)
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(2)


def _expand_homes() -> None:
    """Replaces `~` at the start of a flag's value by the home folder: a shell does so at the start of a word only."""
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        if flag.present and name != "flagfile":
            flag.value = _expanded(flag.value)


def _expanded(value: Any) -> Any:
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~") else value


def _explain(error: flags.Error) -> str:
    """Rewrites absl's error in the form of the other errors: the requirement, and what was received."""
    message = " ".join(str(error).split())
    if isinstance(error, flags.UnrecognizedFlagError):
        hint = re.search(r"Did you mean: (.*?) ?\?", message)
        meant = f"; did you mean {hint[1]}?" if hint else ""
        return f"Every flag must be one that --helpfull lists. Received: --{error.flagname}{meant}"
    if isinstance(error, flags.CantOpenFlagFileError):
        named = f"; from any folder, --preset must be one of {', '.join(presets.preset_names())}"
        presets_too = named if "preset" in flags.FLAGS else ""
        received = message.rpartition(": ")[2].strip("'")
        return f"--flagfile must be a file that can be read{presets_too}. Received: {received}"
    if missing := re.fullmatch(r"Missing value for flag --?(\w+)", message):
        return f"--{missing[1]} must be followed by a value. Received: none"
    first_problem = str(error).partition("\nflag --")[0]  # absl lists the problems of all flags
    if illegal := re.match(r"flag --(\w+)=(.*?): (.*)", " ".join(first_problem.split())):
        name, received, problem = illegal.groups()
        return f"--{name} {_requirement(name, problem)}. Received: {'none' if received in ('', 'None') else received}"
    return message


def _requirement(name: str, problem: str) -> str:
    """Returns the requirement on a flag's value, from the flag's own validator or from the flag's type."""
    if problem.startswith("must "):
        return problem
    if problem.endswith("must have a value other than None."):
        return "must be given"
    flag = flags.FLAGS[name]
    if flag.boolean:
        return "must be true or false"
    if values := getattr(flag.parser, "enum_values", ()):
        return f"must be one of {', '.join(values)}"
    return f"must be {flag.parser.syntactic_help or 'given'}"
