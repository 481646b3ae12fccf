"""Pretrained weights of a third-party encoder, for a run or for its features: `--initial_weights`."""

import pathlib

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.encoders import attention_models
from semppl.layers.encoders.registry import attention_model_of, build_encoder, is_foreign
from semppl.runs import imagenet, pretrained
from semppl.runs.pretrained import PretrainedWeights

IMAGENET = "imagenet"


def check_initial_weights(hyperparameters: Hyperparameters) -> None:
    """Checks that `--initial_weights` comes with a third-party encoder.

    Args:
        hyperparameters: Hyper-parameters of the run that starts.

    Raises:
        ValueError: If the encoder is one of this project's own.
    """
    if hyperparameters.initial_weights and not is_foreign(hyperparameters.encoder):
        raise ValueError(
            "--initial_weights must come with the encoder that the weights belong to, keras:… or kecam:…; weights for an encoder "
            f"of this project are imported as a run, for --initial_run. Received: --encoder={hyperparameters.encoder}"
        )


def read_initial_weights(hyperparameters: Hyperparameters) -> PretrainedWeights:
    """Reads `--initial_weights`, and compares every shape with the encoder's.

    Args:
        hyperparameters: Hyper-parameters of the run that starts.

    Raises:
        ValueError: If the weights cannot be downloaded or read, or belong to another network.
    """
    name, path = hyperparameters.encoder, pathlib.Path(hyperparameters.initial_weights)
    size, network = hyperparameters.large_size, attention_model_of(hyperparameters.encoder)
    if hyperparameters.initial_weights != IMAGENET and not path.is_file():
        raise ValueError(f"--initial_weights must be an existing file, or {IMAGENET}. Received: {path}")
    encoder = build_encoder(name, size=size)
    encoder(tf.zeros([1, size, size, hyperparameters.channels]))
    if len(list(pretrained.variables_of(encoder.places))) < len(encoder.variables):  # some would stay random
        raise ValueError(
            f"--initial_weights must not be set with --encoder={name}, whose layers contain layers. Received: {path}"
        )
    if hyperparameters.initial_weights == IMAGENET:
        path = imagenet.imagenet_file(name, size=size, flag="initial_weights")
        if network is not None:
            return pretrained.weights_of(attention_models.pretrained_model(network, size), path)
    return pretrained.read_weights(path, encoder.places, network=name, flag="initial_weights")
