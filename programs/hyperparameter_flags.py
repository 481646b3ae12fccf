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


def _define_hyperparameter_flags() -> None:
    """Defines one flag per hyper-parameter, listed by group under --helpfull."""
    for field in dataclasses.fields(Hyperparameters):
        group, meaning = field.metadata["group"], field.metadata["help"]
        if isinstance(field.default, tuple):
            flags.DEFINE_list(field.name, [str(value) for value in field.default], f"[{group}] {meaning}")
        else:
            _DEFINE[type(field.default)](field.name, field.default, f"[{group}] {meaning}")


# Here, because two modules that define the same flag cannot be imported together.
_define_hyperparameter_flags()


def hyperparameters_from_flags() -> Hyperparameters:
    """Freezes the flags.

    Raises:
        ValueError: if a value is not allowed, in one line that names the flag.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Hyperparameters):
        value: Any = flags.FLAGS[field.name].value
        if isinstance(field.default, tuple):
            try:
                value = tuple(float(part) for part in value)
            except ValueError:
                raise ValueError(
                    f"--{field.name} must be numbers with commas between. Received: {','.join(value)}"
                ) from None
        values[field.name] = value
    return Hyperparameters(**values)


def data_from_flags() -> dict[str, Any]:
    """Returns the settings on the command line that say what pictures are read, and how.

    Raises:
        ValueError: if nothing says what pictures.
    """
    given = {name: flags.FLAGS[name].value for name in _READING if flags.FLAGS[name].present}
    if "data" not in given:
        raise ValueError("--data must name pictures, as in training: folder:PATH, tfds:NAME:SPLIT … Received: none")
    return given
