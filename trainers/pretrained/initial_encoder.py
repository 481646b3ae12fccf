"""Starting a run from another run's encoder, for example an imported checkpoint, or from pretrained weights."""

from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import renaming_flag, require
from semppl.data.images import Images
from semppl.evaluation.features import preparation_of
from semppl.layers.encoders.applications import LICENCES, family
from semppl.layers.encoders.freezing import stages_of, variables_of
from semppl.layers.encoders.registry import application_of, build_encoder
from semppl.runs import checkpoints, folder
from semppl.runs.initial_weights import IMAGENET
from semppl.runs.pretrained import PretrainedWeights
from semppl.trainers.method import Method

_WHITENED = 2000
"""Maximum number of pictures to which whitening is fitted."""

_WHITENED_PIXELS = _WHITENED * 32**2
"""Maximum number of pixels of these pictures, each a corner of a patch: all patches are in memory at once."""

_MUST_AGREE = ("encoder", "width", "widths", "norm", "pixel_mean", "pixel_stddev")


def check_initial_run(hyperparameters: Hyperparameters) -> None:
    """Checks that the encoder of `--initial_run` is the one that the settings describe.

    Args:
        hyperparameters: Hyper-parameters of the run that starts.

    Raises:
        ValueError: If there is no such run, or its encoder differs; the message names the flag.
    """
    if not hyperparameters.initial_run:
        return
    with renaming_flag("workdir", "initial_run"):
        initial = Hyperparameters.load(hyperparameters.initial_run)
        checkpoints.latest_checkpoint(hyperparameters.initial_run)
    for flag in _MUST_AGREE:
        expected, received = getattr(initial, flag), getattr(hyperparameters, flag)
        if expected != received:
            raise ValueError(
                f"--{flag} must be that of --initial_run={hyperparameters.initial_run}, {expected}. Received: {received}"
            )


def start_from_initial_run(model: Method, hyperparameters: Hyperparameters) -> None:
    """Copies the encoder of `--initial_run` into a model's online and target networks.

    Running statistics are copied too. The heads keep their random initialisation: a projection
    space is specific to the run that trained it.

    Args:
        model: Model with an `online` network and optionally a `target` network.
        hyperparameters: Hyper-parameters of the run that starts.
    """
    _, network, _ = checkpoints.load_online(hyperparameters.initial_run)
    for receiver in model.networks:
        for variable, value in zip(variables_of(receiver.encoder), variables_of(network.encoder), strict=True):
            variable.assign(value)


def fit_whitening(model: Method, images: Images, hyperparameters: Hyperparameters) -> None:
    """Fits the first layer of an encoder that whitens patches to at most 2,000 evenly spaced training images.

    Args:
        model: Model with an `online` network and optionally a `target` network.
        images: Training images.
        hyperparameters: Hyper-parameters of the run that starts.
    """
    layers = [
        (network.pixels, network.encoder.whitening)
        for network in model.networks
        if hasattr(network.encoder, "whitening")
    ]
    if layers:
        most = max(1, _WHITENED_PIXELS // hyperparameters.large_size**2)
        positions = np.unique(np.linspace(0, len(images) - 1, min(len(images), _WHITENED, most)).astype(int))
        prepare = preparation_of(hyperparameters, size=hyperparameters.large_size)
        pictures = list(images.batches(prepare, batch_size=256, positions=positions))
        for pixels, whitening in layers:
            whitening.fit(pixels(tf.concat(pictures, axis=0)).numpy())


def check_frozen_stages(hyperparameters: Hyperparameters) -> None:
    """Checks that the encoder has as many stages as `--frozen_stages` names.

    Args:
        hyperparameters: Hyper-parameters of the run that starts.

    Raises:
        ValueError: If the encoder has fewer stages, or none.
    """
    if hyperparameters.frozen_stages:
        name = hyperparameters.encoder
        encoder = build_encoder(
            name, width=hyperparameters.width, widths=hyperparameters.widths, size=hyperparameters.large_size
        )
        count = len(stages_of(encoder))
        allowed = f"in 0..{count}, the stages of {name}" if count else f"0 with --encoder={name}, which has no stages"
        require(hyperparameters.frozen_stages <= count, "frozen_stages", allowed, hyperparameters.frozen_stages)


def start_from_weights(model: Method, weights: PretrainedWeights) -> None:
    """Assigns pretrained weights to the encoders of a model's online and target networks.

    Args:
        model: Model with an `online` network and optionally a `target` network.
        weights: Weights of its encoder.
    """
    for receiver in model.networks:
        weights.assign_to(receiver.encoder.places)


def describe_start(hyperparameters: Hyperparameters, weights: PretrainedWeights | None) -> dict[str, Any]:
    """Describes where the initial weights of a run come from.

    Args:
        hyperparameters: Hyper-parameters of the run.
        weights: Result of `read_initial_weights`; None for a run that starts from another run.

    Returns:
        The content of `weights.json`.
    """
    if weights is None:
        source = hyperparameters.initial_run
        digest = checkpoints.weights_sha256(checkpoints.latest_checkpoint(source))
        return {"initial_run": source, "sha256": digest, "its_initial_weights": folder.read_initial_weights(source)}
    source = hyperparameters.initial_weights
    network = application_of(hyperparameters.encoder)
    licence = LICENCES.get(family(network)) if source == IMAGENET and network else None
    return {"initial_weights": source, "file": weights.file, "sha256": weights.sha256, "licence": licence}
