"""The training pictures that advice is about, with their features: by a run, an exported model, or an encoder."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.data.combination import renumbered, with_labels
from semppl.data.images import NO_LABEL, Images
from semppl.data.run_data import load_run_data
from semppl.data.splits import RunData, load_data
from semppl.evaluation.advice.pseudo_labels import Pictures
from semppl.evaluation.exported import embedded_images, read_card, read_model
from semppl.evaluation.features import embed, preparation_of
from semppl.layers.networks import OnlineNetwork
from semppl.runs import checkpoints, initial_weights

_MOST_HELD_OUT = 5_000  # pictures


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Training pictures with features.

    Attributes:
        images: The n pictures.
        labels: int32 `[n]`, labels that are visible; NO_LABEL where unknown.
        class_names: Names of the classes, by label.
        features: float32 `[n, D]`.
        hyperparameters: Settings of data and encoder.
        step: Number of training steps of the encoder's run; 0 without a run.
        origin: What made the features, in words.
        weights: SHA-256 digest of the weights that made the features, in hexadecimal; empty where unknown.
        held_out: Function from "validation" or "test" to features `[h, D]` and labels `[h]` of such pictures, at most 5,000, or
            to None if none has a label.
        trained_on_labels: Whether the features may have been trained on the visible labels.
    """

    images: Images
    labels: np.ndarray
    class_names: tuple[str, ...]
    features: np.ndarray
    hyperparameters: Hyperparameters
    step: int
    origin: str
    weights: str = ""
    held_out: Callable[[str], Pictures | None] = lambda split: None
    trained_on_labels: bool = False

    def __post_init__(self) -> None:
        bad = int(np.sum(~np.isfinite(self.features).all(1)))
        if bad:
            raise ValueError(
                f"{self.origin[0].upper()}{self.origin[1:]} must be finite. Received: NaN or Inf for {bad} of "
                f"{counted(len(self.labels), 'picture')}"
            )

    def name(self, row: int) -> str:
        """Returns the path of a picture in its source, or its position if the source names no pictures."""
        return self.images.names[row] if self.images.names else str(row)

    def class_name(self, label: int) -> str:
        """Returns the name of a class; empty for NO_LABEL."""
        return "" if label == NO_LABEL else self.class_names[label]


def load(kind: str, name: str, settings: Mapping[str, Any] | Hyperparameters, *, joint: bool = False) -> Embedded:
    """Loads training pictures with features, from what `advice_flags.source_from_flags` returns."""
    if isinstance(settings, Hyperparameters):
        return embedded_by_encoder(settings)
    return embedded_by_run(name, settings, joint=joint) if kind == "workdir" else embedded_by_model(name, settings)


def embedded_by_run(
    workdir: str | pathlib.Path, moved: Mapping[str, Any] | None = None, *, joint: bool = False
) -> Embedded:
    """Maps the training pictures of a run to features of the encoder, or to joint embeddings.

    Args:
        workdir: Folder of the run.
        moved: Settings, by name, of data that now lie elsewhere; see `load_run_data`.
        joint: Whether to return joint embeddings, features and projections, where the run has trained a projector. They are
            better to classify by; but projections are trained on the labels, and agree with a wrong label, too.

    Raises:
        ValueError: If there is no run, no checkpoint or no picture, or a feature is NaN or Inf.
    """
    hyperparameters, network, step = checkpoints.load_online(workdir)
    data = load_run_data(workdir, hyperparameters, moved)
    projects = joint and step > 0 and checkpoints.trains_projector(workdir)

    def function(images: tf.Tensor) -> tf.Tensor:
        features = network.features(images)
        return network.join_features(features) if projects else features

    origin = f"the {'joint embeddings' if projects else 'features'} of {workdir} at step {step}"
    settings = dataclasses.replace(hyperparameters, **(moved or {}))
    mapped = functools.partial(embed, function, prepare=preparation_of(hyperparameters))
    trained = step > 0 and (projects or hyperparameters.train == "all")
    weights = checkpoints.weights_sha256(checkpoints.latest_checkpoint(workdir))
    return _embedded(data, mapped, settings, origin, step=step, weights=weights, trained=trained)


def _held_out(data: RunData, mapped: Callable[..., np.ndarray], split: str) -> Pictures | None:
    """Returns features and labels of the pictures of a split; None if none has a label."""
    images = getattr(data.source, split)
    known = np.zeros(0, int) if images is None else np.flatnonzero(images.labels != NO_LABEL)
    if images is None or not len(known):
        return None
    chosen = np.sort(np.random.default_rng(0).permutation(known)[:_MOST_HELD_OUT])
    return mapped(images, positions=chosen), images.labels[chosen]


def embedded_by_model(model: str | pathlib.Path, moved: Mapping[str, Any] | None = None) -> Embedded:
    """Maps training pictures to the embeddings of an exported model.

    Args:
        model: Folder of an exported model.
        moved: Settings, by name, of data that lie elsewhere than those of the model's run.

    Raises:
        ValueError: If there is no such model or no picture, or an embedding is NaN or Inf.
    """
    settings, class_names = read_model(model)
    settings = dataclasses.replace(settings, **(moved or {}))
    data = load_data(settings)
    own = data.source.class_names
    names = tuple(dict.fromkeys([*class_names, *own]))
    labels = renumbered(data.labels, own, names)
    loaded = tf.saved_model.load(str(model))

    def mapped(images: Images, positions: np.ndarray | None = None) -> np.ndarray:
        return np.concatenate([batch.numpy() for batch in embedded_images(loaded, images, positions)])

    source = data.source
    held_out = {
        name: with_labels(part, renumbered(part.labels, own, names))
        for name in ("validation", "test")
        if (part := getattr(source, name)) is not None
    }
    data = RunData(dataclasses.replace(source, class_names=names, **held_out), labels)
    origin = f"the embeddings of {model}"
    card = read_card(model)
    return _embedded(data, mapped, settings, origin, step=card["step"], weights=card["weights_sha256"], trained=True)


def embedded_by_encoder(hyperparameters: Hyperparameters) -> Embedded:
    """Maps training pictures to the features of a pretrained encoder; no run is needed, and no label.

    Args:
        hyperparameters: Settings of data, encoder and `initial_weights`.

    Raises:
        ValueError: If the weights or the pictures cannot be read, or a feature is NaN or Inf.
    """
    downloads = hyperparameters.initial_weights == initial_weights.IMAGENET
    data = load_data(hyperparameters) if downloads else None  # nothing is fetched for wrong data
    mapped, weights = encoder_features(hyperparameters)
    data = data or load_data(hyperparameters)
    origin = f"the features of {hyperparameters.encoder}"
    return _embedded(data, mapped, hyperparameters, origin, weights=weights)


def encoder_features(hyperparameters: Hyperparameters) -> tuple[Callable[..., np.ndarray], str]:
    """Returns the features of a pretrained encoder, and the digest of the weights.

    Returns:
        The function that maps images, and positions if not all are wanted, to features; and the SHA-256 digest of the file of
        weights, in hexadecimal.

    Raises:
        ValueError: If there are no weights, or they cannot be read.
    """
    if not hyperparameters.initial_weights:
        raise ValueError(
            "--initial_weights must be imagenet, or a file, with an encoder in place of a run. Received: none for "
            f"--encoder={hyperparameters.encoder}"
        )
    initial_weights.check_initial_weights(hyperparameters)
    weights = initial_weights.read_initial_weights(hyperparameters)
    network = OnlineNetwork(**hyperparameters.network, name="online")
    size = hyperparameters.large_size
    network.build([None, size, size, hyperparameters.channels])
    weights.assign_to(network.encoder.places)
    return functools.partial(embed, network.features, prepare=preparation_of(hyperparameters)), weights.sha256


def _embedded(
    data: RunData,
    mapped: Callable[..., np.ndarray],
    settings: Hyperparameters,
    origin: str,
    *,
    weights: str,
    step: int = 0,
    trained: bool = False,
) -> Embedded:
    source = data.source
    return Embedded(
        source.train,
        data.labels,
        source.class_names,
        mapped(source.train),
        settings,
        step,
        origin,
        weights,
        functools.partial(_held_out, data, mapped),
        trained,
    )
