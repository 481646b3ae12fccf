"""Evaluates a run's encoder on held-out images: prints a table and writes `metrics.json`.

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

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL, Images, ImageSet, Source
from semppl.data.splits import RunData, load_data
from semppl.evaluation.features import embed, preparation_of
from semppl.evaluation.logistic_regression import logistic_regression_classes
from semppl.evaluation.nearest_neighbours import nearest_neighbour_classes
from semppl.layers.networks import OnlineNetwork
from semppl.programs import run_flags
from semppl.runs import checkpoints
from semppl.runs.files import write_atomically

SPLITS = ("test", "validation")
Function = Callable[[tf.Tensor], tf.Tensor]
Measured = dict[str, dict[str, float]]
"""Representation → evaluator → a measure in 0..1."""

flags.adopt_module_key_flags(run_flags)

_NEIGHBOURS = flags.DEFINE_integer(
    "k", 1, "Number of nearest neighbours that vote in `nearest_neighbours`.", lower_bound=1
)
_EVALUATORS = flags.DEFINE_list("evaluators", None, "Comma-separated names of the evaluators to run; by default all.")
_SPLIT = flags.DEFINE_enum("split", "test", SPLITS, "Held-out images of the run to evaluate on.")


@dataclasses.dataclass(frozen=True)
class Task:
    """The input of an evaluator.

    Attributes:
        train: `[n, D]` representations of training images, the labelled ones among them.
        train_labels: int32 `[n]`, ground truth; NO_LABEL where unknown.
        labelled: int64 `[m]`, rows of `train` whose labels were visible in training.
        test: `[t, D]` representations of the images to classify.
        k: Number of nearest neighbours that vote.
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


_ON_ALL_LABELS = "logistic_regression_all_labels"
EVALUATORS: dict[str, Callable[[Task], np.ndarray]] = {
    "nearest_neighbours": _nearest_neighbours,
    "logistic_regression": _logistic_regression,
    _ON_ALL_LABELS: _logistic_regression_on_all_labels,
}


def accuracy(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the share of predicted classes `[t]` that equal the ground truth `[t]`."""
    return float(np.mean(classes == truth))


def balanced_accuracy(classes: np.ndarray, truth: np.ndarray) -> float:
    """Returns the mean, over the classes in the ground truth `[t]`, of the accuracy of the predictions `[t]` on each class."""
    return float(np.mean([np.mean(classes[truth == label] == label) for label in np.unique(truth)]))


MEASURES = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}


def evaluate(
    workdir: str | pathlib.Path, *, k: int = 1, evaluators: Sequence[str] = tuple(EVALUATORS), split: str = "test"
) -> dict[str, Measured]:
    """Evaluates the latest checkpoint of a run on held-out images, and writes `metrics.json` or `metrics_validation.json`.

    Args:
        workdir: Folder of the run.
        k: Number of nearest neighbours that vote, 1 or more.
        evaluators: Keys of EVALUATORS.
        split: "test" or "validation"; images without a label are left out.

    Returns:
        Accuracy and balanced accuracy (the mean over classes): measure → representation → evaluator → value in 0..1.
        Representations are the raw pixels, the encoder's features and the projections. A supervised run has its own classifier
        instead of projections; pictures of many sizes have no raw pixels.

    Raises:
        ValueError: If there is no run, no checkpoint, no such evaluator, or no labelled image to evaluate on.
    """
    _check(k, evaluators, split)
    hyperparameters, network, step = checkpoints.load_online(workdir)
    data = _load(hyperparameters, workdir)
    test = _labelled_images(data.source, split)
    visible = np.flatnonzero(data.labels != NO_LABEL)
    used = np.flatnonzero(data.source.train.labels != NO_LABEL) if _ON_ALL_LABELS in evaluators else visible
    train = data.source.train.select(used)
    classifier = checkpoints.load_classifier(workdir)
    functions = _representations(hyperparameters, network, train, test, with_projections=classifier is None)
    classes: dict[str, dict[str, np.ndarray]] = {}
    for name, (prepare, function) in functions.items():
        print(f"evaluating {name} …", file=sys.stderr, flush=True)
        embedded = (embed(function, images, prepare=prepare) for images in (train, test))
        task = Task(next(embedded), train.labels, np.searchsorted(used, visible), next(embedded), k)
        classes[name] = {evaluator: EVALUATORS[evaluator](task) for evaluator in evaluators}
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
    if split not in SPLITS:
        raise ValueError(f"--split must be one of {', '.join(SPLITS)}. Received: {split}")
    unknown = set(evaluators) - set(EVALUATORS)
    if unknown:
        raise ValueError(f"--evaluators must be of {', '.join(EVALUATORS)}. Received: {', '.join(sorted(unknown))}")


def _load(hyperparameters: Hyperparameters, workdir: str | pathlib.Path) -> RunData:
    """Loads the data of a run; an error names the file that holds the settings."""
    try:
        return load_data(hyperparameters)
    except ValueError as error:
        origin = f"as {workdir}/hyperparameters.json has it; with other data, train or import into another folder"
        raise ValueError(f"{error} ({origin})") from error


def _labelled_images(source: Source, split: str) -> Images:
    """Returns the images of a split that have a label."""
    held_out = source.held_out(split)
    positions = np.flatnonzero(held_out.labels != NO_LABEL)
    if not len(positions):
        raise ValueError(f"--{split} must have labels to judge by. Received: {len(held_out)} images, none with a label")
    return held_out.select(positions)


def _representations(
    hyperparameters: Hyperparameters, network: OnlineNetwork, train: Images, test: Images, *, with_projections: bool
) -> dict[str, tuple[Function, Function]]:
    """Returns, by representation, the preparation of images and the function of prepared images."""
    prepare = preparation_of(hyperparameters)
    functions: dict[str, tuple[Function, Function]] = {}
    if isinstance(train, ImageSet) and isinstance(test, ImageSet):
        functions["raw_pixels"] = (_identity, _flat_pixels)
    else:
        print("raw_pixels are left out: the pictures are of many sizes", file=sys.stderr, flush=True)
    functions["features"] = (prepare, network.features)
    if with_projections:
        functions["projections"] = (prepare, network.project)
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
    """Runs the program from the console."""
    quiet.run(main)


if __name__ == "__main__":
    run()
