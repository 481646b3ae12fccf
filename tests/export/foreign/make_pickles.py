"""Makes tests/goldens/byol_dill_*.pkl: a small checkpoint of BYOL's form, as dill wrote it then and writes it now.

python tests/export/foreign/make_pickles.py FOLDER, in environments with numpy 1.26.4 and dill 0.3.2 or dill 0.3.8
"""

import collections
import pathlib
import sys
import types
from typing import Any

import numpy as np


def content() -> dict[str, Any]:
    """Makes what the files hold, with a dictionary for every Haiku mapping and named tuple that has fields."""
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    params = {"net/~/conv": {"w": kernel}, "net/~/norm": {"scale": np.asfortranarray(kernel.T)}}
    state = {"net/~/norm/~/mean_ema": {"average": kernel[0] / 3, "counter": np.int32(4)}}
    return {
        "experiment_state": {
            "online_params": params,
            "target_params": {},
            "online_state": state,
            "target_state": {},
            "opt_state": [(), {"mu": params}],
        },
        "step": np.int64(3),
        "rng": np.array([1, 2**32 - 1], np.uint32),
    }


def _module(name: str) -> types.ModuleType:
    """Makes an empty module that can be imported, and so named in a pickle."""
    parent, _, last = name.rpartition(".")
    sys.modules[name] = types.ModuleType(name)
    if parent:
        setattr(sys.modules.get(parent) or _module(parent), last, sys.modules[name])
    return sys.modules[name]


def _named_tuple(module: str, name: str, fields: str) -> type:
    kind = collections.namedtuple(name, fields, module=module)  # type: ignore[misc]
    setattr(sys.modules.get(module) or _module(module), name, kind)
    return kind


class FlatMapping:
    """Haiku's mapping: pickled as a call of its class with a dictionary."""

    def __init__(self, mapping: dict[str, Any]) -> None:
        self._mapping = mapping

    def __reduce__(self) -> tuple:
        return FlatMapping, (self._mapping,)


def main(folder: str) -> None:
    """Writes one file, for the dill that is installed."""
    import dill

    FlatMapping.__module__ = "haiku._src.data_structures"
    _module(FlatMapping.__module__).FlatMapping = FlatMapping  # type: ignore[attr-defined]
    state = content()["experiment_state"]
    state_class = _named_tuple("byol.byol_experiment", "_ByolExperimentState", " ".join(state))
    optimisers = "byol.utils.optimizers"
    decay_class, lars_class = (
        _named_tuple(optimisers, "AddWeightDecayState", ""),
        _named_tuple(optimisers, "ScaleByLarsState", "mu"),
    )
    parts = {name: FlatMapping(value) for name, value in state.items() if name != "opt_state"}
    optimiser = [decay_class(), lars_class(FlatMapping(state["opt_state"][1]["mu"]))]
    checkpoint = content() | {"experiment_state": state_class(**parts, opt_state=optimiser)}
    path = pathlib.Path(folder) / f"byol_dill_{dill.__version__}.pkl"
    path.write_bytes(dill.dumps(checkpoint, protocol=2))


if __name__ == "__main__":
    main(sys.argv[1])
