"""What every command's flags share: the run's folder, and errors that fit on one line."""

import re
import sys

from absl import flags

# Here, because two modules that define the same flag cannot be imported together.
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; a run started again with the same flags goes on.", required=True
)


def parse(argv: list[str]) -> list[str]:
    """Reads a command line: the `flags_parser` of `app.run`.

    Args:
        argv: the program and its arguments, flags all of them.

    Returns:
        The program alone.

    Raises:
        SystemExit: with code 2, after one line on stderr, if a flag is unknown, missing, or has a value that is not allowed.
    """
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        problem = _explain(error)
    else:
        if len(rest) == 1 and WORKDIR.value:
            return rest
        problem = f"Every argument must be a flag. Received: {' '.join(rest[1:])}" if rest[1:] else _NO_WORKDIR
    print(f"error: {problem}", file=sys.stderr, flush=True)
    sys.exit(2)


_NO_WORKDIR = "--workdir must name a folder. Received: none"


def _explain(error: flags.Error) -> str:
    """Says in our words what absl says of a flag."""
    message = " ".join(str(error).split())
    if isinstance(error, flags.UnrecognizedFlagError):
        hint = re.search(r"Did you mean: (.*?) ?\?", message)
        meant = f"; did you mean {hint[1]}?" if hint else ""
        return f"Every flag must be one that --helpfull lists. Received: --{error.flagname}{meant}"
    if isinstance(error, flags.CantOpenFlagFileError):
        return f"--flagfile must be a file that can be read. Received: {message.rpartition(': ')[2]}"
    missing = re.fullmatch(r"Missing value for flag --?(\w+)", message)
    if missing:
        return f"--{missing[1]} must be followed by a value. Received: none"
    illegal = re.match(r"flag --(\w+)=(.*?): ", message)
    if not illegal:
        return message
    name, received = illegal.groups()
    if name == WORKDIR.name:
        return _NO_WORKDIR
    flag = flags.FLAGS[name]
    values = ", ".join(getattr(flag.parser, "enum_values", ()))
    allowed = (
        "true or false" if flag.boolean else f"one of {values}" if values else flag.parser.syntactic_help or "given"
    )
    return f"--{name} must be {allowed}. Received: {received}"
