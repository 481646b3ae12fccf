"""The methods by name; a new one is a file and a line here."""

import importlib
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # programs name the methods before they import TensorFlow
    from semppl.trainers.method import Method

METHODS = types.MappingProxyType(
    {
        "barlow_twins": "baselines.barlow_twins:BarlowTwins",
        "byol": "baselines.byol:BYOL",
        "fixmatch": "baselines.fixmatch:FixMatch",
        "moco": "baselines.moco:MoCo",
        "nnclr": "baselines.nnclr:NNCLR",
        "relic": "baselines.relic:ReLIC",
        "relicv2": "baselines.relic:ReLICv2",
        "semppl": "semppl:SemPPL",
        "simclr": "baselines.simclr:SimCLR",
        "supcon": "baselines.supcon:SupCon",
        "supervised": "supervised:Supervised",
        "swav": "baselines.swav:SwAV",
    }
)
"""Module in `semppl.trainers` and class of each method."""


def find_method(name: str) -> "type[Method]":
    """Returns the class of a method.

    Raises:
        ValueError: For a name that is not in `METHODS`, with the flag and all names.
    """
    if name not in METHODS:
        raise ValueError(f"--method must be one of {', '.join(sorted(METHODS))}. Received: {name}")
    module, _, method = METHODS[name].partition(":")
    found: type[Method] = getattr(importlib.import_module(f"semppl.trainers.{module}"), method)
    return found
