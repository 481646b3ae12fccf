"""Starting a run from another run's encoder, for example an imported checkpoint."""

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.runs import checkpoints

_MUST_AGREE = ("encoder", "width", "norm", "pixel_mean", "pixel_stddev")


def check_initial_run(hyperparameters: Hyperparameters) -> None:
    """Checks that the encoder of `--initial_run` is the one that the settings describe.

    Args:
        hyperparameters: Hyper-parameters of the run that starts.

    Raises:
        ValueError: If there is no such run, or its encoder differs; the message names the flag.
    """
    if not hyperparameters.initial_run:
        return
    try:
        initial = Hyperparameters.load(hyperparameters.initial_run)
        checkpoints.latest_checkpoint(hyperparameters.initial_run)
    except ValueError as error:
        raise ValueError(str(error).replace("--workdir", "--initial_run", 1)) from error
    for flag in _MUST_AGREE:
        expected, received = getattr(initial, flag), getattr(hyperparameters, flag)
        if expected != received:
            raise ValueError(
                f"--{flag} must be that of --initial_run={hyperparameters.initial_run}, {expected}. Received: {received}"
            )


def start_from_initial_run(model: tf.keras.Model, hyperparameters: Hyperparameters) -> None:
    """Copies the encoder of `--initial_run` into a model's online and target networks.

    Running statistics are copied too. The heads keep their random initialisation: a projection
    space is specific to the run that trained it.

    Args:
        model: Model with an `online` network and optionally a `target` network.
        hyperparameters: Hyper-parameters of the run that starts.
    """
    _, network, _ = checkpoints.load_online(hyperparameters.initial_run)
    for receiver in (model.online, getattr(model, "target", None)):
        if receiver is not None:
            for variable, value in zip(receiver.encoder.variables, network.encoder.variables, strict=True):
                variable.assign(value)
