"""The methods by name, and the settings that each uses; a new one is a file and a line here."""

import dataclasses
import difflib
import importlib
import pathlib
import types
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.objective import OF_METHODS
from semppl.configs.setting import require
from semppl.runs.folder import read_settings

if TYPE_CHECKING:  # programs name the methods before they import TensorFlow
    from semppl.trainers.method import Method

METHODS = types.MappingProxyType(
    {
        "barlow_twins": "baselines.barlow_twins:BarlowTwins",
        "byol": "baselines.byol:BYOL",
        "fixmatch": "baselines.fixmatch:FixMatch",
        "moco": "baselines.moco:MoCo",
        "nnclr": "baselines.nnclr:NNCLR",
        "paws": "baselines.paws:PAWS",
        "relic": "baselines.relic:ReLIC",
        "relicv2": "baselines.relic:ReLICv2",
        "semppl": "semppl:SemPPL",
        "simclr": "baselines.simclr:SimCLR",
        "simmatch": "baselines.simmatch:SimMatch",
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
        similar = difflib.get_close_matches(name, METHODS, n=1)
        suggestion = f"; did you mean {similar[0]}?" if similar else ""
        raise ValueError(f"--method must be one of {', '.join(sorted(METHODS))}. Received: {name}{suggestion}")
    module, _, method = METHODS[name].partition(":")
    found: type[Method] = getattr(importlib.import_module(f"semppl.trainers.{module}"), method)
    return found


def settle(hyperparameters: Hyperparameters, *, given: Collection[str], workdir: pathlib.Path) -> Hyperparameters:
    """Returns the settings of a run, with the default of each setting that the method does not use.

    A preset is made for one method. With another method, each setting of the preset that this method does not use gets the
    value of the run in `workdir`, if a run of this method is there, or else the default. So does `inference_size` with a recipe
    whose views show whole pictures: a network that has seen objects at the size of the views is evaluated at this size.

    Args:
        hyperparameters: Settings, including those of a preset.
        given: Names of the settings that the user has set outside the preset.
        workdir: Folder of the run, new or old.

    Raises:
        ValueError: If a given setting is unused and differs from that value, or the method is unknown; the message names the flag.
    """
    used = find_method(hyperparameters.method).uses(hyperparameters)
    former = read_settings(workdir)
    resumed = former is not None and former.method == hyperparameters.method
    origin = former if resumed else Hyperparameters
    unused: dict[str, Any] = {name: getattr(origin, name) for name in OF_METHODS if name not in used}
    sizes = {"inference_size"} - set(given) if _shows_whole_pictures(hyperparameters.recipe) else set()
    settled = dataclasses.replace(hyperparameters, **unused, **{name: getattr(origin, name) for name in sizes})
    for name, value in unused.items():
        received = getattr(hyperparameters, name)
        shown = "empty" if value in ("", ()) else value
        allowed = f"{shown} with --method={hyperparameters.method}, which does not use the setting"
        is_same = hyperparameters.capacity == settled.capacity if name == "queue_size" else received == value
        require(name not in given or is_same, name, allowed, received)
    return settled


def _shows_whole_pictures(recipe: str) -> bool:
    recipes = importlib.import_module("semppl.data.views.recipes").RECIPES
    return recipe in recipes and recipes[recipe].weak_and_strong


def resolve(hyperparameters: Hyperparameters, *, num_images: int, num_labelled: int, replicas: int) -> Hyperparameters:
    """Replaces every default that depends on the data or the devices by a value, and validates the batch that results.

    Args:
        hyperparameters: Settings of a run.
        num_images: Number of training images.
        num_labelled: Number of training images with a label.
        replicas: Number of replicas in sync.

    Raises:
        ValueError: If the batch cannot be filled or divided, or is too small or too large for the run's method.
    """
    resolved = hyperparameters.resolved(
        num_images=num_images,
        num_labelled=num_labelled,
        replicas=replicas,
        labels_alone=find_method(hyperparameters.method).labels_alone,
    )
    check_batch(resolved)
    return resolved


def check_batch(hyperparameters: Hyperparameters) -> None:
    """Validates the size of a batch against the settings that the run's method uses; see `Hyperparameters.check_batch`."""
    hyperparameters.check_batch(find_method(hyperparameters.method).uses(hyperparameters))
