"""Evaluators of frozen representations, by name: classifiers fitted to the labelled training images, behind one contract."""

import dataclasses
from collections.abc import Callable

import numpy as np

from semppl.data.images import NO_LABEL, Images
from semppl.evaluation.logistic_regression import LinearClassifier, fit_logistic_regression
from semppl.evaluation.neighbours.class_means import class_mean_classes
from semppl.evaluation.neighbours.label_spreading import label_spreading_classes
from semppl.evaluation.neighbours.nearest_neighbours import (
    choose_neighbours,
    nearest_neighbour_classes,
    weighted_neighbour_shares,
)

_MAX_SAMPLE = 20_000  # images
_MAX_SAMPLE_VALUES = 2**27  # of raw pixels, in float32
_MAX_SPREAD = 12_000  # images
_MAX_SPREAD_VALUES = 2**26  # images × width of the representation


@dataclasses.dataclass(frozen=True)
class Task:
    """The input of an evaluator.

    Attributes:
        train: `[n, D]` representations of training images.
        train_labels: int32 `[n]`, ground truth; NO_LABEL where unknown.
        labelled: int64 `[m]`, rows of `train` whose labels were visible in training.
        sample: int64 `[p]`, rows of `train`: the labelled images and a sample of all others.
        test: `[t, D]` representations of the images to classify.
        k: Number of nearest neighbours that vote.
        seed: Seed of the draws of evaluators.
    """

    train: np.ndarray
    train_labels: np.ndarray
    labelled: np.ndarray
    sample: np.ndarray
    test: np.ndarray
    k: int
    seed: int = 0

    @property
    def memory(self) -> tuple[np.ndarray, np.ndarray]:
        """The representations `[l, D]` and labels `[l]` of the labelled images."""
        return self.train[self.labelled], self.train_labels[self.labelled]


def _nearest_neighbours(task: Task) -> np.ndarray:
    memory, labels = task.memory
    return nearest_neighbour_classes(task.test, memory, labels, k=min(task.k, len(memory)))


def _weighted_neighbours(task: Task) -> np.ndarray:
    memory, labels = task.memory
    shares, classes = weighted_neighbour_shares(task.test, memory, labels, k=choose_neighbours(memory, labels))
    return classes[shares.argmax(1)]


def _class_means(task: Task) -> np.ndarray:
    return class_mean_classes(task.test, *task.memory)


def _logistic_regression(task: Task) -> np.ndarray:
    return regression_of(task).predict(task.test)


def _label_spreading(task: Task) -> np.ndarray:
    visible = np.full_like(task.train_labels, NO_LABEL)
    visible[task.labelled] = task.train_labels[task.labelled]
    others = np.setdiff1d(task.sample, task.labelled)
    most = min(_MAX_SPREAD, _MAX_SPREAD_VALUES // task.train.shape[1])
    parts = drawn(task.labelled, most, task.seed), drawn(others, max(most - len(task.labelled), 0), task.seed)
    rows = np.concatenate(parts)
    return label_spreading_classes(task.train[rows], visible[rows], task.test, seed=task.seed)


def _logistic_regression_on_all_labels(task: Task) -> np.ndarray:
    rows = np.flatnonzero(task.train_labels != NO_LABEL)
    return fit_logistic_regression(task.train[rows], task.train_labels[rows], seed=task.seed).predict(task.test)


def regression_of(task: Task) -> LinearClassifier:
    """Fits the logistic regression of the evaluator of that name: to the labelled images, scaled by the sample."""
    return fit_logistic_regression(*task.memory, population=task.train[task.sample], seed=task.seed)


def training_sample(visible: np.ndarray, train: Images, *, values: int = 0, seed: int = 0) -> np.ndarray:
    """Returns sorted positions of training images: the labelled ones, and a draw of others up to 20,000 in all.

    Args:
        visible: Integers `[m]`, positions of the labelled images.
        train: Training images.
        values: Number of raw pixels per image, where these are evaluated, of which at most 2²⁷ are drawn; 0: no such limit.
        seed: Seed of the draw.
    """
    most = min(_MAX_SAMPLE, _MAX_SAMPLE_VALUES // values) if values else _MAX_SAMPLE
    others = np.setdiff1d(np.arange(len(train)), visible)
    return np.union1d(visible, drawn(others, max(most - len(visible), 0), seed))


def drawn(positions: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Draws at most `count` of `[n]` positions, always the same ones for a seed, and sorts them."""
    return np.sort(np.random.default_rng(seed).permutation(positions)[:count])


LABELLED, SAMPLE, ALL_LABELS = "labelled", "sample", "all_labels"


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """A function that classifies, and the training images for which it needs representations.

    Attributes:
        classes: Function from a task to the predicted classes `[t]`.
        images: Training images that are needed in addition to the labelled ones: none ("labelled"), a sample of all ("sample"), or
            all whose label is known, hidden labels included ("all_labels").
    """

    classes: Callable[[Task], np.ndarray]
    images: str = LABELLED


EVALUATORS = {
    "nearest_neighbours": Evaluator(_nearest_neighbours),
    "weighted_neighbours": Evaluator(_weighted_neighbours),
    "class_means": Evaluator(_class_means),
    "logistic_regression": Evaluator(_logistic_regression, SAMPLE),
    "label_spreading": Evaluator(_label_spreading, SAMPLE),
    "logistic_regression_all_labels": Evaluator(_logistic_regression_on_all_labels, ALL_LABELS),
}
