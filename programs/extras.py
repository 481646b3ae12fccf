"""Packages that only some commands need: the project's extras."""

import importlib.util


def require_extra(extra: str, *packages: str) -> None:
    """Makes sure that what an extra brings is there.

    Raises:
        ValueError: if it is not, saying how to get it.
    """
    if not all(importlib.util.find_spec(package) for package in packages):
        raise ValueError(f'This needs the extra "{extra}": pip install "semppl[{extra}]"')
