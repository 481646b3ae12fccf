"""How good a run's encoder is: prints a table and writes `metrics.json`.

python -m semppl.evaluation.evaluate --workdir=outputs/digits
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Sequence

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import tensorflow as tf
from absl import flags

from semppl.data.images import NO_LABEL, ImageSet
from semppl.data.splits import load_data
from semppl.evaluation.features import embed, preparation_of
from semppl.evaluation.logistic_regression import logistic_regression_classes
from semppl.evaluation.nearest_neighbours import nearest_neighbour_classes
from semppl.programs import run_flags
from semppl.runs import checkpoints
from semppl.runs.files import write_atomically

SPLITS = ("test", "validation")
Function = Callable[[tf.Tensor], tf.Tensor]
Measured = dict[str, dict[str, float]]
"""Representation → evaluator → a measure in 0..1."""

flags.adopt_module_key_flags(run_flags)

_NEIGHBOURS = flags.DEFINE_integer("k", 1, "Neighbours that vote.", lower_bound=1)
_EVALUATORS = flags.DEFINE_list("evaluators", None, "Which to run, with commas between; by default all.")
_SPLIT = flags.DEFINE_enum("split", "test", SPLITS, "Images to judge by, of those that the run names.")


@dataclasses.dataclass(frozen=True)
class Task:
    """What an evaluator is given.

    Attributes:
        train: `[n, D]` representations of training images: the labelled ones at least.
        train_labels: `[n]` their true labels, NO_LABEL where nobody knows.
        labelled: `[m]` positions of the images that were labelled in training.
        test: `[t, D]`, of the images to classify.
        k: neighbours that vote.
    """

    train: np.ndarray
    train_labels: np.ndarray
    labelled: np.ndarray
    test: np.ndarray
    k: int


def _nearest_neighbours(task: Task) -> np.ndarray:
    memory, labels = task.train[task.labelled], task.train_labels[task.labelled]
    return nearest_neighbour_classes(task.test, memory, labels, k=min(task.k, len(memory)))


def _logistic_regression(task: Task) -> np.ndarray:
    features, labels = task.train[task.labelled], task.train_labels[task.labelled]
    return logistic_regression_classes(features, labels, task.test)


def _logistic_regression_on_all_labels(task: Task) -> np.ndarray:
    everything = np.flatnonzero(task.train_labels != NO_LABEL)
    return _logistic_regression(dataclasses.replace(task, labelled=everything))


EVALUATORS: dict[str, Callable[[Task], np.ndarray]] = {
    "nearest_neighbours": _nearest_neighbours,
    "logistic_regression": _logistic_regression,
    "logistic_regression_all_labels": _logistic_regression_on_all_labels,
}


def accuracy(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the share of `classes` `[t]` that are right."""
    return float(np.mean(classes == truth))


def balanced_accuracy(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the mean over the classes in `truth` `[t]` of the share of their images whose `classes` `[t]` are right."""
    return float(np.mean([np.mean(classes[truth == label] == label) for label in np.unique(truth)]))


MEASURES = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}


def evaluate(
    workdir: str | pathlib.Path, *, k: int = 1, evaluators: Sequence[str] = tuple(EVALUATORS), split: str = "test"
) -> dict[str, Measured]:
    """Evaluates the latest checkpoint of a run on images held out, and writes `metrics.json` (or `metrics_validation.json`).

    Args:
        workdir: of the run.
        k: neighbours that vote.
        evaluators: keys of EVALUATORS.
        split: test or validation; those of its images that have a label.

    Returns:
        Accuracy and balanced accuracy (the mean over classes): measure → representation → evaluator → value in 0..1.
        Representations are the raw pixels, the encoder's features and the projections; a supervised run has no projections, but
        its own classifier. Pictures of many sizes have no raw pixels.

    Raises:
        ValueError: if there is no run, no checkpoint, no such evaluator, or no image to judge by.
    """
    if k < 1:
        raise ValueError(f"--k must be a positive integer. Received: {k}")
    if split not in SPLITS:
        raise ValueError(f"--split must be one of {', '.join(SPLITS)}. Received: {split}")
    unknown = set(evaluators) - set(EVALUATORS)
    if unknown:
        raise ValueError(f"--evaluators must be of {', '.join(EVALUATORS)}. Received: {', '.join(sorted(unknown))}")
    hyperparameters, network, step = checkpoints.load_online(workdir)
    try:
        data = load_data(hyperparameters)
    except ValueError as error:
        told = f"as {workdir}/hyperparameters.json has it; with other data, train or import into another folder"
        raise ValueError(f"{error} ({told})") from error
    source, labels = data.source, data.labels
    held_out = source.held_out(split)
    judged = np.flatnonzero(held_out.labels != NO_LABEL)
    if not len(judged):
        raise ValueError(f"--{split} must have labels to judge by. Received: {len(held_out)} images, none with a label")
    truth = held_out.labels[judged]
    prepare = preparation_of(hyperparameters)
    representations: dict[str, tuple[Function, Function]] = {
        "raw_pixels": (_identity, _flat_pixels),
        "features": (prepare, network.features),
        "projections": (prepare, network.project),
    }
    classifier = checkpoints.load_classifier(workdir)
    if classifier is not None:
        del representations["projections"]
    if not isinstance(source.train, ImageSet) or not isinstance(held_out, ImageSet):
        del representations["raw_pixels"]
        print("raw_pixels are left out: the pictures are of many sizes", file=sys.stderr, flush=True)
    labelled = np.flatnonzero(labels != NO_LABEL)
    needed = (
        labelled
        if "logistic_regression_all_labels" not in evaluators
        else np.flatnonzero(source.train.labels != NO_LABEL)
    )
    classes: dict[str, dict[str, np.ndarray]] = {}
    for name, (prepared, function) in representations.items():
        print(f"evaluating {name} …", file=sys.stderr, flush=True)
        train = embed(function, source.train, prepare=prepared, positions=needed)
        test = embed(function, held_out, prepare=prepared, positions=judged)
        positions = np.searchsorted(needed, labelled)
        task = Task(train, source.train.labels[needed], positions, test, k)
        classes[name] = {evaluator: EVALUATORS[evaluator](task) for evaluator in evaluators}
        if classifier is not None and name == "features":
            kernel, bias = classifier
            classes["classifier"] = {"own": np.argmax(test @ kernel + bias, -1)}
    metrics = {
        measure: {name: {how: function(found, truth) for how, found in row.items()} for name, row in classes.items()}
        for measure, function in MEASURES.items()
    }
    report = {"step": step, "k": k, f"{split}_images": len(judged), "labelled": len(labelled), **metrics}
    name = "metrics.json" if split == "test" else f"metrics_{split}.json"
    write_atomically(pathlib.Path(workdir) / name, json.dumps(report, indent=2) + "\n")
    return metrics


def _identity(images: tf.Tensor) -> tf.Tensor:
    return images


def _flat_pixels(images: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.image.convert_image_dtype(images, tf.float32), [tf.shape(images)[0], -1])


def table(measured: Measured, title: str) -> str:
    """Lays a measure out under its title: a representation a row, an evaluator a column."""
    columns = list(dict.fromkeys(evaluator for row in measured.values() for evaluator in row))
    width = max(len(name) for name in (*measured, title)) + 2
    lines = [f"{title:<{width}}" + "".join(f"{column:>32}" for column in columns)]
    for name, row in measured.items():
        lines.append(f"{name:<{width}}" + "".join(f"{row[c]:>32.4f}" if c in row else f"{'–':>32}" for c in columns))
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
    )
    print("\n\n".join(table(measured, name) for name, measured in metrics.items()))
    return 0


def run() -> None:
    """Is the console script."""
    quiet.run(main, flags_parser=run_flags.parse)


if __name__ == "__main__":
    run()
