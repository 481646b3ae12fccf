"""Packages that only some commands need: the project's extras."""

import importlib.util


def require_extra(extra: str, *packages: str) -> None:
    """Checks that the packages of an extra are installed.

    Args:
        extra: Name of the extra.
        *packages: Names under which the packages are imported.

    Raises:
        ValueError: If a package is missing; the message contains the command that installs the extra.
    """
    if not all(importlib.util.find_spec(package) for package in packages):
        raise ValueError(f'This needs the extra "{extra}": pip install "semppl[{extra}]"')
