"""A run that starts from another run's encoder: from an imported checkpoint, for one."""

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.runs import checkpoints

_MUST_AGREE = ("encoder", "width", "norm", "pixel_mean", "pixel_stddev")


def check_initial_run(hyperparameters: Hyperparameters) -> None:
    """Compares the encoder of `--initial_run` with the one that is asked for.

    Raises:
        ValueError: if there is no such run, or its encoder is another, in one line that names the flag.
    """
    if not hyperparameters.initial_run:
        return
    try:
        there = Hyperparameters.load(hyperparameters.initial_run)
        checkpoints.latest_checkpoint(hyperparameters.initial_run)
    except ValueError as error:
        raise ValueError(str(error).replace("--workdir", "--initial_run", 1)) from error
    for flag in _MUST_AGREE:
        wanted, found = getattr(there, flag), getattr(hyperparameters, flag)
        if wanted != found:
            raise ValueError(
                f"--{flag} must be that of --initial_run={hyperparameters.initial_run}, {wanted}. Received: {found}"
            )


def start_from_initial_run(model: tf.keras.Model, hyperparameters: Hyperparameters) -> None:
    """Gives the encoder of `--initial_run`, with its running statistics, to a model's online and target networks.

    Heads start anew: what they project into belongs to the run that they were trained in.

    Args:
        model: with an `online` network and perhaps a `target`.
        hyperparameters: of the run that starts.
    """
    _, network, _ = checkpoints.load_online(hyperparameters.initial_run)
    for receiver in (model.online, getattr(model, "target", None)):
        if receiver is not None:
            for variable, value in zip(receiver.encoder.variables, network.encoder.variables, strict=True):
                variable.assign(value)
