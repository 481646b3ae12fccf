"""Settings as flags: a flag per field of a record, and its value once the command line is parsed."""

import dataclasses
from collections.abc import Callable, Container, Mapping
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


def define_flags(record: type, *, unless: Container[str] = (), flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one flag per field of a dataclass, listed by the field's group under --helpfull.

    Args:
        record: Dataclass.
        unless: Names of fields that are left out.
        flag_values: Flags to which the new ones are added.
    """
    for field in dataclasses.fields(record):
        if field.name not in unless:
            default = [str(value) for value in field.default] if isinstance(field.default, tuple) else field.default
            meaning = "[{group}] {help}".format_map(field.metadata) if field.metadata else ""
            _DEFINE[type(field.default)](field.name, default, meaning, flag_values=flag_values)


def define_optional_flags(record: type, defaults: Mapping[str, str]) -> None:
    """Defines flags without a value of their own.

    Args:
        record: Dataclass.
        defaults: Names of fields, and in words what holds if the flag is not set.
    """
    for field in dataclasses.fields(record):
        if field.name in defaults:
            _DEFINE[type(field.default)](field.name, None, f"{field.metadata['help']} ({defaults[field.name]})")


def values_of_flags(record: type, flag_values: flags.FlagValues = flags.FLAGS) -> dict[str, Any]:
    """Returns the values of the flags that `define_flags` defined, by name.

    Raises:
        ValueError: If a flag that lists numbers holds something else, in one line that names the flag.
    """
    return {field.name: value_of_flag(field.name, flag_values) for field in dataclasses.fields(record)}


def require_left_out(instead: Mapping[str, str]) -> None:
    """Refuses flags on the command line in whose place a program has others.

    Args:
        instead: Names of flags, and the flag that decides in the place of each.

    Raises:
        ValueError: If one of them is set.
    """
    for name, other in instead.items():
        if flags.FLAGS[name].present:
            raise ValueError(f"--{name} must be left out, since --{other} decides. Received: {value_of_flag(name)}")


def value_of_flag(name: str, flag_values: flags.FlagValues = flags.FLAGS) -> Any:
    """Returns the value of a flag; None if it has no default and is not set.

    A list becomes a tuple of numbers, of whole ones where the flag is an empty list by default.

    Raises:
        ValueError: If a list holds something that is no such number, in one line that names the flag.
    """
    value, default = flag_values[name].value, flag_values[name].default
    if not isinstance(value, list):
        return value
    number, called = (int, "whole numbers") if default == [] else (float, "numbers")
    try:
        return tuple(number(part) for part in value)
    except ValueError:
        raise ValueError(f"--{name} must be {called} with commas between. Received: {','.join(value)}") from None
