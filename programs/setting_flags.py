"""A hyper-parameter as a flag: its definition, and its value once the command line is parsed."""

import dataclasses
from collections.abc import Callable
from typing import Any

from absl import flags

flags.disclaim_key_flags()  # --help lists a flag under the module that asks for it

_DEFINE: dict[type, Callable[..., Any]] = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


def define(field: dataclasses.Field) -> None:
    """Defines the flag of a field of `Hyperparameters`, with its default, and its group in the help text."""
    default = [str(value) for value in field.default] if isinstance(field.default, tuple) else field.default
    _DEFINE[type(field.default)](field.name, default, f"[{field.metadata['group']}] {field.metadata['help']}")


def define_optional(field: dataclasses.Field, default: str) -> None:
    """Defines the flag of a field without a default; `default` says in words what holds if the flag is not set."""
    _DEFINE[type(field.default)](field.name, None, f"{field.metadata['help']} ({default})")


def value(name: str) -> Any:
    """Returns the value of a flag, of the type of the setting; None if the flag has no default and is not set.

    Raises:
        ValueError: If a list holds something that is not a number, in one line that names the flag.
    """
    parsed = flags.FLAGS[name].value
    if not isinstance(parsed, list):
        return parsed
    try:
        return tuple(float(part) for part in parsed)
    except ValueError:
        raise ValueError(f"--{name} must be numbers with commas between. Received: {','.join(parsed)}") from None
