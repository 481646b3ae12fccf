"""The pictures of a run with embeddings and predicted classes, by the latest checkpoint."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import special

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.data.files.lost_pictures import naming_lost_pictures
from semppl.data.images import NO_LABEL, Images
from semppl.data.run_data import load_evaluated_data
from semppl.data.splits import RunData
from semppl.evaluation.features import embed, preparation_of
from semppl.evaluation.logistic_regression import fit_logistic_regression
from semppl.layers.networks import OnlineNetwork
from semppl.runs import checkpoints

_MAX_OTHERS = 5_000  # training images without a visible label
_MAX_LABELLED = 20_000
_MAX_HELD_OUT = 10_000


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures with embeddings.

    Attributes:
        images: The n pictures, with labels; NO_LABEL where unknown.
        embeddings: float32 `[n, D]`.
        total: Number of pictures of which these are a sample.
    """

    images: Images
    embeddings: np.ndarray
    total: int

    @property
    def labels(self) -> np.ndarray:
        """int32 `[n]`; NO_LABEL where unknown."""
        return self.images.labels

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, row: int) -> str:
        """Returns the path of a picture in its source, or its position if the source names no pictures."""
        return self.images.names[row] if self.images.names else f"picture {row}"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predicted classes of the n judged pictures.

    Attributes:
        classifier: What predicts, in words.
        classes: Integers `[n]`, the predicted classes.
        confidence: `[n]` probability of the predicted class, in 0..1.
        of_truth: `[n]` probability of the label, in 0..1; NaN where the label is unknown.
    """

    classifier: str
    classes: np.ndarray
    confidence: np.ndarray
    of_truth: np.ndarray


@dataclasses.dataclass(frozen=True)
class Judged:
    """A run as its report sees the run.

    Attributes:
        workdir: Folder of the run.
        hyperparameters: Settings of the run.
        step: Step of the checkpoint.
        data: Data of the run.
        embedding: What the embeddings are, in words.
        labelled: Training pictures whose label was visible in training.
        judged: Held-out pictures; without these, training pictures without a visible label.
        split: "test", "validation", or "training" for the latter.
        predictions: Predicted classes of the judged pictures; None without a classifier, which needs a label.
    """

    workdir: pathlib.Path
    hyperparameters: Hyperparameters
    step: int
    data: RunData
    embedding: str
    labelled: Pictures
    judged: Pictures
    split: str
    predictions: Predictions | None

    @property
    def known(self) -> np.ndarray:
        """Rows of the judged pictures whose label is known."""
        return np.flatnonzero(self.judged.labels != NO_LABEL)

    def class_name(self, label: int) -> str:
        """Returns the name of a class; empty for NO_LABEL."""
        return "" if label == NO_LABEL else self.data.source.class_names[label]


def judge(workdir: str | pathlib.Path, moved: Mapping[str, Any] | None = None) -> Judged:
    """Embeds and classifies the pictures of a run.

    Pictures are judged of the first of these that has one: the test pictures with a label, the validation pictures with a label,
    all test, all validation pictures, and training pictures without a visible label; at most 10,000.

    Args:
        workdir: Folder of the run.
        moved: Settings, by name, of data that now lie elsewhere; "test" may name the first test set.

    Raises:
        ValueError: If there is no run, no checkpoint or no picture, or an embedding is NaN or Inf.
    """
    hyperparameters, network, step = checkpoints.load_online(workdir)
    data = load_evaluated_data(workdir, hyperparameters, moved or {})
    embedding, function = _embedding(workdir, network, step)
    prepare = preparation_of(hyperparameters)

    def pictures(images: Images, rows: np.ndarray, most: int) -> Pictures:
        chosen = _drawn(rows, most)
        embeddings = np.zeros([0, 1], np.float32)
        if len(chosen):
            embeddings = embed(function, images, prepare=prepare, positions=chosen)
        _require_finite(workdir, embeddings)
        return Pictures(images.select(chosen), embeddings, len(rows))

    train, visible = data.source.train, data.labels != NO_LABEL
    split, images, rows = _held_out(data)
    with naming_lost_pictures():
        labelled = pictures(train, np.flatnonzero(visible), _MAX_LABELLED)
        others = pictures(train, np.flatnonzero(~visible), _MAX_OTHERS)
        judged = others if images is None else pictures(images, rows, _MAX_HELD_OUT)
    predictions = None
    if len(labelled) and len(judged):
        population = np.concatenate([part.embeddings for part in (labelled, others) if len(part)])
        predictions = _predictions(checkpoints.load_classifier(workdir), labelled, judged, population)
    return Judged(pathlib.Path(workdir), hyperparameters, step, data, embedding, labelled, judged, split, predictions)


def _embedding(
    workdir: str | pathlib.Path, network: OnlineNetwork, step: int
) -> tuple[str, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns what the embeddings are, in words, and the function from images to embeddings."""
    if step and checkpoints.trains_projector(workdir) and checkpoints.load_classifier(workdir) is None:
        return "features and projections (joint)", lambda images: network.join_features(network.features(images))
    return "features", network.features


def _require_finite(workdir: str | pathlib.Path, embeddings: np.ndarray) -> None:
    bad = int((~np.isfinite(embeddings).all(1)).sum())
    if bad:
        raise ValueError(
            "--workdir must hold a checkpoint whose embeddings are finite. "
            f"Received: {workdir}, with NaN or Inf for {bad} of {counted(len(embeddings), 'picture')}"
        )


def _predictions(
    own: tuple[np.ndarray, np.ndarray] | None, labelled: Pictures, judged: Pictures, population: np.ndarray
) -> Predictions:
    """Classifies by the run's own classifier, kernel and bias, if it has one, or by a logistic regression."""
    if own is not None:
        logits, classes = judged.embeddings @ own[0] + own[1], np.arange(len(own[1]))
        classifier = "the run's own linear classifier"
    else:
        model = fit_logistic_regression(labelled.embeddings, labelled.labels, population=population)
        logits, classes = model.logits(judged.embeddings), model.classes
        classifier = f"logistic regression on {counted(len(labelled), 'labelled picture')}"
    probabilities = special.softmax(np.asarray(logits, np.float64), axis=1)
    of_truth = np.where(judged.labels == NO_LABEL, np.nan, 0.0)
    rows, columns = np.nonzero(judged.labels[:, np.newaxis] == classes)
    of_truth[rows] = probabilities[rows, columns]
    return Predictions(classifier, classes[probabilities.argmax(1)], probabilities.max(1), of_truth)


def _drawn(positions: np.ndarray, most: int) -> np.ndarray:
    """Draws at most `most` of `[n]` positions, always the same ones, and sorts them."""
    return np.sort(np.random.default_rng(0).permutation(positions)[:most])


def _held_out(data: RunData) -> tuple[str, Images | None, np.ndarray]:
    """Returns the split whose pictures are judged, its images, and the rows of these; "training" without such a split."""
    splits = {name: getattr(data.source, name) for name in ("test", "validation")}
    given = {name: images for name, images in splits.items() if images is not None and len(images)}
    for name, images in given.items():
        if len(known := np.flatnonzero(images.labels != NO_LABEL)):
            return name, images, known
    for name, images in given.items():
        return name, images, np.arange(len(images))
    return "training", None, np.zeros(0, np.int64)
