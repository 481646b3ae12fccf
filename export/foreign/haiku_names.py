"""Names of variables in the official checkpoints, which follow Haiku."""

import tensorflow as tf

from semppl.layers.encoders.resnet import ResNet
from semppl.layers.heads import MLP

_ARRAYS = {"kernel": "w", "bias": "b", "gamma": "scale", "beta": "offset"}
_AVERAGES = {"moving_mean": "mean_ema", "moving_variance": "var_ema"}
_MLP_MODULES = {"hidden": "linear", "hidden_norm": "batch_norm", "outputs": "linear_1"}


def haiku_names(layer: ResNet | MLP, module: str) -> dict[tuple[str, str], tf.Variable]:
    """Pairs every variable of a built layer with its Haiku module and array.

    Args:
        layer: ResNet with batch norm and without selective kernels, or projector or predictor; built.
        module: Prefix of the Haiku modules, such as "res_net50" or "projector".

    Returns:
        `{(module, array): variable}`; a moving average is the array "average" of a module that ends in "_ema".
    """
    return {_haiku_name(layer, variable, module): variable for variable in layer.variables}


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
