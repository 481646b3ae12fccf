"""One flag per hyper-parameter, for the programs that start from settings."""

import dataclasses
from collections.abc import Callable
from typing import Any

from absl import flags

from semppl.configs.hyperparameters import Hyperparameters

_DEFINE: dict[type, Callable[..., Any]] = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


_READING = ("data", "data_dir", "image_feature", "label_feature", "name_feature", "max_pixels")


def define_flags(record: type, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one flag per field of a dataclass, listed by the field's group under --helpfull."""
    for field in dataclasses.fields(record):
        meaning = "[{group}] {help}".format_map(field.metadata) if field.metadata else ""
        if isinstance(field.default, tuple):
            default = [str(value) for value in field.default]
            flags.DEFINE_list(field.name, default, meaning, flag_values=flag_values)
        else:
            _DEFINE[type(field.default)](field.name, field.default, meaning, flag_values=flag_values)


# Here, because two modules that define the same flag cannot be imported together.
define_flags(Hyperparameters)


def hyperparameters_from_flags() -> Hyperparameters:
    """Freezes the flags.

    Raises:
        ValueError: if a value is not allowed, in one line that names the flag.
    """
    return Hyperparameters(**values_of_flags(Hyperparameters, flags.FLAGS))


def values_of_flags(record: type, flag_values: flags.FlagValues) -> dict[str, Any]:
    """Returns the values of the flags that `define_flags` defined, by name.

    Raises:
        ValueError: if a flag that lists numbers holds something else, in one line that names the flag.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value: Any = flag_values[field.name].value
        if isinstance(field.default, tuple):
            try:
                value = tuple(float(part) for part in value)
            except ValueError:
                raise ValueError(
                    f"--{field.name} must be numbers with commas between. Received: {','.join(value)}"
                ) from None
        values[field.name] = value
    return values


def data_from_flags() -> dict[str, Any]:
    """Returns the settings on the command line that say what pictures are read, and how.

    Raises:
        ValueError: if nothing says what pictures.
    """
    given = {name: flags.FLAGS[name].value for name in _READING if flags.FLAGS[name].present}
    if "data" not in given:
        raise ValueError("--data must name pictures, as in training: folder:PATH, tfds:NAME:SPLIT … Received: none")
    return given
