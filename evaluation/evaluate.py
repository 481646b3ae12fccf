"""Evaluates a run's encoder on held-out images: prints a table and writes `metrics.json`.

python -m semppl.evaluation.evaluate --workdir=outputs/digits
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from semppl.configs import choices
from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import place_flags, quiet, run_flags

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(place_flags)

_NEIGHBOURS = flags.DEFINE_integer(
    "k", 1, "Number of nearest neighbours that vote in `nearest_neighbours`.", lower_bound=1
)
_EVALUATORS = flags.DEFINE_list(
    "evaluators",
    None,
    f"Comma-separated names of the evaluators to run, among {', '.join(choices.EVALUATORS)}; by default all.",
)
_SPLIT = flags.DEFINE_enum("split", "test", choices.SPLITS, "Held-out images of the run to evaluate on.")

quiet.parse_flags(__name__)

import tensorflow as tf

from semppl.data.images import NO_LABEL, Images, ImageSet, Source
from semppl.data.run_data import load_run_data
from semppl.evaluation.class_means import class_mean_classes
from semppl.evaluation.features import embed, map_rows, preparation_of
from semppl.evaluation.label_spreading import label_spreading_classes
from semppl.evaluation.logistic_regression import logistic_regression_classes
from semppl.evaluation.nearest_neighbours import nearest_neighbour_classes
from semppl.layers.networks import OnlineNetwork
from semppl.runs import checkpoints
from semppl.runs.files import write_atomically

_MAX_SAMPLE = 20_000  # images
_MAX_SAMPLE_VALUES = 2**27  # of raw pixels, in float32
_MAX_SPREAD = 12_000  # images
_MAX_SPREAD_VALUES = 2**26  # images × width of the representation

Function = Callable[[tf.Tensor], tf.Tensor]
Measured = dict[str, dict[str, float]]
"""Representation → evaluator → a measure in 0..1."""


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
    """

    train: np.ndarray
    train_labels: np.ndarray
    labelled: np.ndarray
    sample: np.ndarray
    test: np.ndarray
    k: int


def _nearest_neighbours(task: Task) -> np.ndarray:
    memory, labels = task.train[task.labelled], task.train_labels[task.labelled]
    return nearest_neighbour_classes(task.test, memory, labels, k=min(task.k, len(memory)))


def _class_means(task: Task) -> np.ndarray:
    return class_mean_classes(task.test, task.train[task.labelled], task.train_labels[task.labelled])


def _logistic_regression(task: Task) -> np.ndarray:
    features, labels = task.train[task.labelled], task.train_labels[task.labelled]
    return logistic_regression_classes(features, labels, task.test, population=task.train[task.sample])


def _label_spreading(task: Task) -> np.ndarray:
    visible = np.full_like(task.train_labels, NO_LABEL)
    visible[task.labelled] = task.train_labels[task.labelled]
    others = np.setdiff1d(task.sample, task.labelled)
    most = min(_MAX_SPREAD, _MAX_SPREAD_VALUES // task.train.shape[1])
    rows = np.concatenate([_drawn(task.labelled, most), _drawn(others, max(most - len(task.labelled), 0))])
    return label_spreading_classes(task.train[rows], visible[rows], task.test)


def _logistic_regression_on_all_labels(task: Task) -> np.ndarray:
    rows = np.flatnonzero(task.train_labels != NO_LABEL)
    return logistic_regression_classes(task.train[rows], task.train_labels[rows], task.test)


_LABELLED, _SAMPLE, _ALL_LABELS = "labelled", "sample", "all_labels"


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """A function that classifies, and the training images for which it needs representations.

    Attributes:
        classes: Function from a task to the predicted classes `[t]`.
        images: Training images that are needed in addition to the labelled ones: none ("labelled"), a sample of all ("sample"), or
            all whose label is known, hidden labels included ("all_labels").
    """

    classes: Callable[[Task], np.ndarray]
    images: str = _LABELLED


EVALUATORS = {
    "nearest_neighbours": Evaluator(_nearest_neighbours),
    "class_means": Evaluator(_class_means),
    "logistic_regression": Evaluator(_logistic_regression, _SAMPLE),
    "label_spreading": Evaluator(_label_spreading, _SAMPLE),
    "logistic_regression_all_labels": Evaluator(_logistic_regression_on_all_labels, _ALL_LABELS),
}


def accuracy(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the share of predicted classes `[t]` that equal the ground truth `[t]`."""
    return float(np.mean(classes == truth))


def balanced_accuracy(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the mean, over the classes in the ground truth `[t]`, of the accuracy of the predictions `[t]` on each class."""
    return float(np.mean([np.mean(classes[truth == label] == label) for label in np.unique(truth)]))


MEASURES = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}


def evaluate(
    workdir: str | pathlib.Path,
    *,
    k: int = 1,
    evaluators: Sequence[str] = tuple(EVALUATORS),
    split: str = "test",
    moved: Mapping[str, Any] | None = None,
) -> dict[str, Measured]:
    """Evaluates the latest checkpoint of a run on held-out images, and writes `metrics.json` or `metrics_validation.json`.

    Args:
        workdir: Folder of the run.
        k: Number of nearest neighbours that vote, 1 or more.
        evaluators: Keys of EVALUATORS. Those that use unlabelled images use a fixed sample of at most 20,000 training images
            (of raw pixels, at most 512 MB); label spreading uses at most 12,000 of these.
        split: "test" or "validation"; images without a label are left out.
        moved: Settings, by name, of data that now lie elsewhere; see `load_run_data`.

    Returns:
        Accuracy and balanced accuracy (the mean over classes): measure → representation → evaluator → value in 0..1.
        Representations are the raw pixels, the encoder's features, the projections, and both together ("joint"). A supervised run
        has its own classifier instead of the last two; pictures of different sizes have no raw pixels.

    Raises:
        ValueError: If there is no run, no checkpoint, no such evaluator, or no labelled image to evaluate on.
    """
    _check(k, evaluators, split)
    hyperparameters, network, step = checkpoints.load_online(workdir)
    data = load_run_data(workdir, hyperparameters, moved)
    test = _labelled_images(data.source, split)
    train, visible = data.source.train, np.flatnonzero(data.labels != NO_LABEL)
    classifier = checkpoints.load_classifier(workdir)
    functions = _representations(hyperparameters, network, train, test)
    embedded: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    classes: dict[str, dict[str, np.ndarray]] = {}
    of_features = {} if classifier else {"projections": network.project_features, "joint": network.join_features}
    for name in (*functions, *of_features):
        print(f"evaluating {name} …", file=sys.stderr, flush=True)
        sample = _sample(visible, train, raw_pixels=name == "raw_pixels")
        used = _used(evaluators, train, visible, sample)
        if name in of_features:  # without another pass over the images
            both = [map_rows(of_features[name], rows) for rows in embedded["features"]]
        else:
            prepare, function = functions[name]
            both = [embed(function, train, prepare=prepare, positions=used), embed(function, test, prepare=prepare)]
        embedded[name] = (both[0], both[1])
        rows = np.searchsorted(used, visible), np.flatnonzero(np.isin(used, sample))
        task = Task(both[0], train.labels[used], *rows, both[1], k)
        classes[name] = {evaluator: EVALUATORS[evaluator].classes(task) for evaluator in evaluators}
        if classifier is not None and name == "features":
            kernel, bias = classifier
            classes["classifier"] = {"own": np.argmax(task.test @ kernel + bias, -1)}
    metrics = _measured(classes, test.labels)
    report = {"step": step, "k": k, f"{split}_images": len(test), "labelled": len(visible), **metrics}
    name = "metrics.json" if split == "test" else f"metrics_{split}.json"
    write_atomically(pathlib.Path(workdir) / name, json.dumps(report, indent=2) + "\n")
    return metrics


def _check(k: int, evaluators: Sequence[str], split: str) -> None:
    if k < 1:
        raise ValueError(f"--k must be a positive integer. Received: {k}")
    if split not in choices.SPLITS:
        raise ValueError(f"--split must be one of {', '.join(choices.SPLITS)}. Received: {split}")
    unknown = set(evaluators) - set(EVALUATORS)
    if unknown:
        raise ValueError(f"--evaluators must be of {', '.join(EVALUATORS)}. Received: {', '.join(sorted(unknown))}")


def _labelled_images(source: Source, split: str) -> Images:
    """Returns the images of a split that have a label."""
    held_out = source.held_out(split)
    positions = np.flatnonzero(held_out.labels != NO_LABEL)
    if not len(positions):
        raise ValueError(f"--{split} must have labels to judge by. Received: {len(held_out)} images, none with a label")
    return held_out.select(positions)


def _sample(visible: np.ndarray, train: Images, *, raw_pixels: bool) -> np.ndarray:
    """Returns sorted positions of training images: the labelled ones, and a fixed draw of others up to a limit."""
    most = _MAX_SAMPLE
    if raw_pixels and isinstance(train, ImageSet):
        most = min(most, _MAX_SAMPLE_VALUES // int(np.prod(train.images.shape[1:])))
    others = np.setdiff1d(np.arange(len(train)), visible)
    return np.union1d(visible, _drawn(others, max(most - len(visible), 0)))


def _used(evaluators: Sequence[str], train: Images, visible: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Returns sorted positions of the training images that the evaluators need."""
    needs = {EVALUATORS[evaluator].images for evaluator in evaluators}
    used = np.union1d(visible, sample) if _SAMPLE in needs else visible
    return np.union1d(used, np.flatnonzero(train.labels != NO_LABEL)) if _ALL_LABELS in needs else used


def _drawn(positions: np.ndarray, count: int) -> np.ndarray:
    """Draws at most `count` of `[n]` positions, always the same ones, and sorts them."""
    return np.sort(np.random.default_rng(0).permutation(positions)[:count])


def _representations(
    hyperparameters: Hyperparameters, network: OnlineNetwork, train: Images, test: Images
) -> dict[str, tuple[Function, Function]]:
    """Returns, by representation of images, the preparation of images and the function of prepared images."""
    prepare = preparation_of(hyperparameters)
    functions: dict[str, tuple[Function, Function]] = {}
    if isinstance(train, ImageSet) and isinstance(test, ImageSet):
        functions["raw_pixels"] = (_identity, _flat_pixels)
    else:
        print("raw_pixels are left out: the pictures have different sizes", file=sys.stderr, flush=True)
    functions["features"] = (prepare, network.features)
    return functions


def _measured(classes: dict[str, dict[str, np.ndarray]], truth: np.ndarray) -> dict[str, Measured]:
    """Computes every measure of the predicted classes against the ground truth `[t]`."""
    return {
        measure: {
            name: {evaluator: function(predictions, truth) for evaluator, predictions in row.items()}
            for name, row in classes.items()
        }
        for measure, function in MEASURES.items()
    }


def _identity(images: tf.Tensor) -> tf.Tensor:
    return images


def _flat_pixels(images: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.image.convert_image_dtype(images, tf.float32), [tf.shape(images)[0], -1])


def table(measured: Measured, title: str) -> str:
    """Formats a measure as a table under its title: one row per representation, one column per evaluator."""
    columns = list(dict.fromkeys(evaluator for row in measured.values() for evaluator in row))
    width = max(len(name) for name in (*measured, title))
    lines = ["  ".join([f"{title:<{width}}", *(f"{c:>6}" for c in columns)])]
    for name, row in measured.items():
        cells = (f"{row[c]:.4f}" if c in row else "–" for c in columns)
        lines.append(
            "  ".join(
                [f"{name:<{width}}", *(f"{cell:>{max(len(c), 6)}}" for cell, c in zip(cells, columns, strict=True))]
            )
        )
    return "\n".join(lines)


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    metrics = evaluate(
        run_flags.WORKDIR.value,
        k=_NEIGHBOURS.value,
        evaluators=_EVALUATORS.value or tuple(EVALUATORS),
        split=_SPLIT.value,
        moved=place_flags.moved_from_flags(),
    )
    print("\n\n".join(table(measured, name) for name, measured in metrics.items()))
    return 0


def run() -> None:
    """Runs the program from the console."""
    quiet.run(main)


if __name__ == "__main__":
    run()
