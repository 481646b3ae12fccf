"""Our variables under the names that the official checkpoints give them."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from semppl.layers.encoders.resnet import ResNet
from semppl.layers.heads import MLP

_ARRAYS = {"kernel": "w", "bias": "b", "gamma": "scale", "beta": "offset"}
_AVERAGES = {"moving_mean": "mean_ema", "moving_variance": "var_ema"}
_MLP_MODULES = {"hidden": "linear", "hidden_norm": "batch_norm", "outputs": "linear_1"}


def haiku_names(layer: ResNet | MLP, module: str) -> dict[tuple[str, str], tf.Variable]:
    """Pairs every variable of a built layer with its Haiku module and array.

    Args:
        layer: a ResNet with batch norm and without selective kernels, or a projector or predictor.
        module: what the names start with, such as "res_net50" or "projector".

    Returns:
        `{(module, array): variable}`; moving averages have the array "average" of a module that ends in "_ema".
    """
    return {_haiku_name(layer, variable, module): variable for variable in layer.variables}


def assign_from_haiku(
    layer: ResNet | MLP,
    module: str,
    params: Mapping[str, Mapping[str, np.ndarray]],
    state: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Gives every variable of a built layer its value from a Haiku checkpoint.

    Args:
        layer: as for `haiku_names`.
        module: as for `haiku_names`.
        params: `{module: {array: values}}`, of this layer and perhaps of others.
        state: the same of the moving averages, of which Haiku's inference reads "average".

    Raises:
        ValueError: if an array is missing, superfluous or of another size. Nothing has been assigned then.
    """
    names = haiku_names(layer, module)
    arrays = {(path, array): values for path, group in params.items() for array, values in group.items()}
    averages = {(path, "average"): group["average"] for path, group in state.items() if "average" in group}
    arrays = {name: values for name, values in (arrays | averages).items() if _is_within(name[0], module)}
    if missing := sorted(names.keys() - arrays.keys()):
        raise ValueError(f"Every array of {module!r} must be there. Missing: {missing}")
    if superfluous := sorted(arrays.keys() - names.keys()):
        raise ValueError(f"Every array of {module!r} must have a variable of {layer.name!r}. Received: {superfluous}")
    for name, variable in names.items():
        if _squeezed(arrays[name].shape) != _squeezed(variable.shape):
            raise ValueError(f"{name} must have the shape {variable.shape}. Received: {arrays[name].shape}")
    for name, variable in names.items():
        variable.assign(np.reshape(arrays[name], variable.shape))


def _haiku_name(layer: ResNet | MLP, variable: tf.Variable, module: str) -> tuple[str, str]:
    parts = variable.name.removesuffix(":0").split("/")
    outer = len(parts) - parts[::-1].index(layer.name)
    modules, array = parts[outer:-1], parts[-1]
    if isinstance(layer, MLP):
        path = f"{module}/{_MLP_MODULES[modules[0]]}"
    else:
        path = "/~/".join([module, *(part.replace("norm", "batchnorm") for part in modules)])
    if array in _AVERAGES:
        return f"{path}/~/{_AVERAGES[array]}", "average"
    return path, _ARRAYS[array]


def _is_within(path: str, module: str) -> bool:
    return path == module or path.startswith(f"{module}/")


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drops the ones in front, which Haiku keeps in its normalisation layers."""
    sizes = list(shape)
    while sizes and sizes[0] == 1:
        sizes.pop(0)
    return tuple(sizes)
