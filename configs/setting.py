"""The parts that every group of settings shares: fields with a meaning, a check of types, and the form of errors."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Setting = Any


def setting(group: str, default: Setting, meaning: str, *, is_path: bool = False) -> Setting:
    """Declares a hyper-parameter, which is a flag and a JSON key of the same name.

    Args:
        group: Heading under which the flag is listed.
        default: Default value; its type is the type of the setting.
        meaning: Help text, with the unit.
        is_path: Whether the value only says where something lies, so that two runs that differ in it are the same run if the
            images and labels there are the same.
    """
    return dataclasses.field(default=default, metadata={"group": group, "help": meaning, "is_path": is_path})


def require(holds: bool, flag: str, allowed: str, received: Any) -> None:
    """Raises a ValueError of one line that names the flag, unless `holds`."""
    if not holds:
        raise ValueError(f"--{flag} must be {allowed}. Received: {received}")


@contextlib.contextmanager
def renaming_flag(name: str, shown: str) -> Iterator[None]:
    """Names the flag `shown` in place of the flag `name` in the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(f"--{name}", f"--{shown}", 1)) from error


@contextlib.contextmanager
def adding_origin(words: str) -> Iterator[None]:
    """Adds words, in brackets, to the message of a ValueError, such as where the settings come from."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error} ({words})") from error


@dataclasses.dataclass(frozen=True)
class Settings:
    """A frozen group of settings that validates itself on construction; groups combine by inheritance.

    Raises:
        ValueError: On construction, if a value is not allowed, or two values do not go together; one line that names the flag.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            fits, allowed = _WHOLE_NUMBERS if field.default == () else _KINDS[type(field.default)]
            value = getattr(self, field.name)
            require(fits(value), field.name, allowed, value)
        for group in reversed(type(self).__mro__):
            if "check" in vars(group):
                vars(group)["check"](self)

    def require_each(self, names: tuple[str, ...], holds: Callable[[Any], bool], allowed: str) -> None:
        """Requires the same of several settings."""
        for name in names:
            require(holds(getattr(self, name)), name, allowed, getattr(self, name))

    def require_defaults(self, names: Iterable[str], where: str) -> None:
        """Requires the defaults of settings that are not used; `where` says in words of a message when that is."""
        for name in names:
            value, default = getattr(self, name), getattr(type(self), name)
            require(value == default, name, f"{default} {where}", value)


def as_arguments(record: Any) -> list[str]:
    """Returns the values of a dataclass as arguments of a command line: a flag per field, of the same name."""
    values = dataclasses.asdict(record)
    return [f"--{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in values.items()]


def is_seed(value: int) -> bool:
    """Returns whether a number fits TensorFlow's and NumPy's seeds."""
    return 0 <= value < 2**32


SEED = "in 0..2**32 - 1"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _are_finite(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and all(_is_finite(part) for part in value)


def _are_whole(value: Any) -> bool:
    return isinstance(value, tuple) and all(_is_whole(part) for part in value)


_KINDS: dict[type, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (_is_whole, "a whole number"),
    float: (_is_finite, "a finite number"),
    str: (lambda value: isinstance(value, str), "a text"),
    tuple: (_are_finite, "finite numbers, one per channel"),
}
_WHOLE_NUMBERS = (_are_whole, "whole numbers")
"""Check of a setting whose default is an empty tuple, and the allowed values in words."""
