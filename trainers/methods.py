"""The methods by name; a new one is a file and a line here."""

import importlib
import types

from semppl.trainers.method import Method

METHODS = types.MappingProxyType(
    {
        "byol": "baselines.byol:BYOL",
        "semppl": "semppl:SemPPL",
        "simclr": "baselines.simclr:SimCLR",
        "supervised": "supervised:Supervised",
    }
)
"""Module in `semppl.trainers` and class of each method."""


def find_method(name: str) -> type[Method]:
    """Returns the class of a method.

    Raises:
        KeyError: For a name that is not in `METHODS`.
    """
    module, _, method = METHODS[name].partition(":")
    found: type[Method] = getattr(importlib.import_module(f"semppl.trainers.{module}"), method)
    return found
