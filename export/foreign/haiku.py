"""Reader of the official checkpoints of SemPPL, ReLICv2 and BYOL: pickles of a JAX experiment with Haiku's names."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.export.foreign import restricted_pickle
from semppl.export.foreign.checkpoint import HEADS, ForeignCheckpoint
from semppl.export.foreign.haiku_names import haiku_names
from semppl.layers.encoders.resnet import BLOCKS_PER_GROUP, SMALLEST_BOTTLENECK_DEPTH
from semppl.layers.networks import OnlineNetwork

Arrays = dict[str, np.ndarray]

_STEM = re.compile(r"(?P<encoder>.+)/~/initial_conv/w")
_BLOCK = re.compile(r"/~/block_group_(\d+)/~/block_(\d+)/~/")
_STEM_CHANNELS = 64


def read(path: str | pathlib.Path) -> ForeignCheckpoint:
    """Reads a checkpoint, and recognises its network by the names and shapes of arrays.

    The online network is read, as in the official evaluation; of each moving average, the array "average". If the arrays have a
    leading axis of devices (ReLICv2, SemPPL), those of the first device are read.

    Args:
        path: Path of the pickle.

    Raises:
        ValueError: if the file contains more than data, is damaged, or contains no supported ResNet.
    """
    tree = restricted_pickle.load(path)
    arrays = _named_arrays(tree, path)
    encoder = _encoder_module(arrays, path)
    if arrays[f"{encoder}/~/initial_conv/w"].ndim == 5:
        arrays = {name: array[0] for name, array in arrays.items()}
    modules = {"encoder": encoder} | {head: module for head in HEADS if (module := _head_module(arrays, head))}
    settings = _encoder_settings(arrays, encoder, path) | _head_settings(arrays, modules)

    def variables(network: OnlineNetwork) -> dict[str, tf.Variable]:
        return {
            f"{module}/{array}": variable
            for part, path in modules.items()
            for (module, array), variable in haiku_names(getattr(network, part), path).items()
        }

    return ForeignCheckpoint(
        origin="official (Haiku)",
        settings=settings,
        arrays={n: a for n, a in arrays.items() if any(n.startswith(f"{module}/") for module in modules.values())},
        variables=variables,
        step=_step(tree.get("step", 0), path),
        lacks=tuple(head for head in HEADS if head not in modules),
    )


def _named_arrays(tree: Any, path: str | pathlib.Path) -> Arrays:
    """Returns the online network's parameters and moving averages by full name."""
    state = tree.get("experiment_state", tree) if isinstance(tree, Mapping) else tree
    arrays: Arrays = {}
    for part in ("online_params", "online_state"):
        if not isinstance(state, Mapping) or not isinstance(state.get(part), Mapping):
            raise ValueError(
                "--source must be a checkpoint of SemPPL, ReLICv2 or BYOL, a dictionary with experiment_state and in it "
                f"online_params and online_state. Received: {path}, {_describe(state)}"
            )
        for module, group in state[part].items():
            for name, array in group.items() if isinstance(group, Mapping) else ():
                if part == "online_params" or name == "average":
                    arrays[f"{module}/{name}"] = np.asarray(array)
    for name, array in arrays.items():  # the shapes of a few determine the network, before all are compared
        if not array.size or (name.endswith("/w") and array.ndim < 2):
            raise ValueError(
                f"--source must hold arrays of numbers. Received: {path}, {name} of the shape {array.shape}"
            )
    stems = [name for name in arrays if re.search(r"/initial_conv_\d+/w$", name)]
    if len(stems) == 1:  # Haiku numbers repeated modules
        arrays[re.sub(r"_\d+/w$", "/w", stems[0])] = arrays.pop(stems[0])
    return arrays


def _step(step: Any, path: str | pathlib.Path) -> int:
    """Returns the number of steps; some checkpoints store one per device."""
    counted = np.asarray(step)
    if counted.dtype.kind not in "iuf" or not counted.size or not np.isfinite(counted).all():
        raise ValueError(f"--source must hold a number of steps. Received: {path}, {step!r:.50}")
    return int(counted.flat[0])


def _describe(state: Any) -> str:
    if not isinstance(state, Mapping):
        return f"a {type(state).__name__}"
    return f"a dictionary with {', '.join(str(key) for key in list(state)[:5]) or 'nothing'}"


def _encoder_module(arrays: Arrays, path: str | pathlib.Path) -> str:
    found = [match["encoder"] for name in arrays if (match := _STEM.fullmatch(name))]
    if len(found) != 1:
        raise ValueError(
            f"--source must hold one ResNet, a module …/~/initial_conv. Received: {path}, with {', '.join(found) or 'none'}"
        )
    return found[0]


def _encoder_settings(arrays: Arrays, encoder: str, path: str | pathlib.Path) -> dict[str, Any]:
    """Recognises depth, version, stem and width."""
    blocks = {match.groups() for name in arrays if (match := _BLOCK.match(name.removeprefix(encoder)))}
    counts = tuple(sum(group == str(index) for group, _ in blocks) for index in range(4))
    bottleneck = f"{encoder}/~/block_group_0/~/block_0/~/conv_2/w" in arrays
    depths = [
        depth
        for depth, expected in BLOCKS_PER_GROUP.items()
        if expected == counts and (depth >= SMALLEST_BOTTLENECK_DEPTH) == bottleneck
    ]
    if not depths:
        kind = "bottleneck" if bottleneck else "basic"
        allowed = ", ".join(f"{depth}: {blocks}" for depth, blocks in BLOCKS_PER_GROUP.items())
        raise ValueError(
            f"--source must hold a ResNet with the blocks of one of {allowed}. Received: {path}, {counts}, {kind}"
        )
    kernel = arrays[f"{encoder}/~/initial_conv/w"]
    version = "" if f"{encoder}/~/initial_batchnorm/scale" in arrays else "_v2"
    stem = "_cifar" if kernel.shape[0] == 3 else ""
    return {"encoder": f"resnet{depths[0]}{version}{stem}", "width": kernel.shape[-1] / _STEM_CHANNELS}


def _head_module(arrays: Arrays, head: str) -> str:
    """Returns the module of a head with the layers linear, batch norm, linear; empty if there is none."""
    for name in arrays:
        if match := re.fullmatch(rf"(?P<head>(?:.+/)?{head})/linear/w", name):
            module = match["head"]
            parts = ("linear/w", "linear/b", "batch_norm/scale", "batch_norm/offset", "linear_1/w")
            averages = ("batch_norm/~/mean_ema/average", "batch_norm/~/var_ema/average")
            there = {other.removeprefix(f"{module}/") for other in arrays if other.startswith(f"{module}/")}
            return module if there == {*parts, *averages} else ""
    return ""


def _head_settings(arrays: Arrays, modules: dict[str, str]) -> dict[str, Any]:
    """Returns the widths of the projector; removes a predictor that has other widths or no projector from `modules`."""
    shapes = {
        head: (arrays[f"{modules[head]}/linear/w"].shape[-1], arrays[f"{modules[head]}/linear_1/w"].shape[-1])
        for head in HEADS
        if head in modules
    }
    if shapes.get("predictor") != shapes.get("projector"):
        modules.pop("predictor", None)
    if "projector" not in shapes:
        return {}
    hidden, outputs = shapes["projector"]
    return {"head_width": hidden, "embedding_width": outputs}
