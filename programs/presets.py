"""Settings for callers in Python, from a preset and by name, with the checks of the command line."""

import dataclasses
import difflib
import itertools
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from absl import flags

from semppl import configs
from semppl.programs.setting_flags import define_flags, values_of_flags

_FOLDER = pathlib.Path(configs.__file__).parent
_SUFFIX = ".flags"
_MOST_REPETITIONS = 20  # of one preset on a command line and in its files
_PRESET = re.compile(r"--?preset(?:=(.*))?", re.DOTALL)


def settings_by_name(
    preset: str | os.PathLike[str], settings: Mapping[str, Any], *records: type
) -> tuple[dict[str, Any], ...]:
    """Reads a preset, overrides its values, and groups the result by dataclass.

    Args:
        preset: Name of a flag file in `configs`, or path of another one; empty: none.
        settings: Values by name; they override those of the preset.
        *records: Dataclasses; the names of their fields are the names of the flags.

    Returns:
        Values by name for each of `records`, without the fields left at their defaults.

    Raises:
        ValueError: If there is no such preset, the preset contains an unknown flag or a value that is not allowed, or a setting
            is unknown.
    """
    fields = {field.name: field for record in records for field in dataclasses.fields(record) if field.init}
    for name in settings:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"Every setting must be a flag of the program. Received: {name}{hint}")
    values = read_preset(preset, *records) if os.fspath(preset) else {}
    values |= {name: _plain(fields[name].default, value) for name, value in settings.items()}
    return tuple(
        {field.name: values[field.name] for field in dataclasses.fields(record) if field.name in values}
        for record in records
    )


def preset_names() -> list[str]:
    """Lists the presets of the package, in the order of the alphabet."""
    return sorted(file.stem for file in _FOLDER.glob(f"*{_SUFFIX}"))


def find_preset(preset: str | os.PathLike[str], *, called: str) -> pathlib.Path:
    """Finds the file of a preset.

    Args:
        preset: Name of a flag file in `configs`, or path of another one.
        called: Name of the argument or flag, for the error message.

    Raises:
        ValueError: If there is no such file; the message lists the presets.
    """
    named = _FOLDER / f"{os.fspath(preset)}{_SUFFIX}"
    path = named if named.is_file() else pathlib.Path(preset)
    if not path.is_file():
        names = preset_names()
        near = difflib.get_close_matches(pathlib.Path(preset).name.removesuffix(_SUFFIX), names, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        allowed = f"one of {', '.join(names)}, or the path of a file of flags"
        raise ValueError(f"{called} must be {allowed}. Received: {preset}{meant}")
    return path


def expand(argv: list[str], flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Replaces --preset and --flagfile on a command line, and in files of flags, by the flags in their files.

    Args:
        argv: Name of the program and its arguments.
        flag_values: Flags of the program; without a flag "preset" among them, only --flagfile is replaced.

    Raises:
        ValueError: If there is no such preset.
        flags.CantOpenFlagFileError: If a file of flags cannot be read.
    """
    arguments = argv[1:]
    expanded: list[pathlib.Path] = []
    while True:
        arguments = flag_values.read_flags_from_files(arguments, force_gnu=False)
        place = next((n for n, word in enumerate(arguments) if _PRESET.fullmatch(word)), None)
        if place is None or "preset" not in flag_values or "--" in arguments[:place]:
            return [*argv[:1], *arguments]
        value = _PRESET.fullmatch(arguments[place])[1]  # type: ignore[index]
        after = place + 1
        if value is None:
            value, after = "".join(arguments[after : after + 1]), after + 1
        preset = find_preset(value, called="--preset")
        if expanded.count(preset) > _MOST_REPETITIONS:
            raise ValueError(f"--preset must be a file of flags that does not name itself. Received: {value}")
        expanded.append(preset)
        arguments[place:after] = [f"--flagfile={preset}"]


def names_given(argv: list[str], flag_values: flags.FlagValues = flags.FLAGS) -> set[str]:
    """Returns the names of the flags on a command line, without those in the files that --preset and --flagfile name.

    Args:
        argv: Name of the program and its arguments.
        flag_values: Flags of the program.
    """
    words = itertools.takewhile(lambda word: word != "--", argv[1:])
    names = {word.lstrip("-").partition("=")[0] for word in words if word.startswith("-")}
    return {name if name in flag_values else name.removeprefix("no") for name in names}


def read_preset(preset: str | os.PathLike[str], *records: type) -> dict[str, Any]:
    """Reads a file of flags.

    Args:
        preset: Name of a flag file in `configs`, or path of another one.
        *records: Dataclasses; the names of their fields are the names of the flags.

    Returns:
        The values in the file, by name.

    Raises:
        ValueError: If there is no such file, or the file contains an unknown flag or a value that is not allowed.
    """
    path = find_preset(preset, called="preset")
    flag_values = flags.FlagValues()
    for record in records:
        define_flags(record, flag_values=flag_values)
    try:
        flag_values(["", f"--flagfile={path}"])
        present = {name for name in flag_values if flag_values[name].present}
        return {
            name: value
            for record in records
            for name, value in values_of_flags(record, flag_values).items()
            if name in present
        }
    except (flags.Error, ValueError) as error:
        message = " ".join(str(error).split())
        raise ValueError(f"preset must be a file of known flags. Received: {path} ({message})") from error


def _plain(default: Any, value: Any) -> Any:
    """Converts a value to the type of a setting: a path to a string, 1 to 1.0, a list to a tuple."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
