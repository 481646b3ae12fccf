r"""Evaluates finished runs of self-supervised methods with other numbers of labels, and writes a log for each number.

    python -m semppl.benchmarks.small_budget.more_labels --runs=outputs/small_budget/simclr-50-0,outputs/small_budget/byol-50-0 \
      --other_labels_per_class=4,25,400 --logs_folder=benchmarks/small_budget/logs

The labelled images are those that a run of the same seed with so many labels per class would have. Classifiers are fitted to their
projections and features, as in `semppl.evaluation.evaluate`; nothing is trained again.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import tensorflow as tf
from absl import flags

from semppl.benchmarks.small_budget import collect
from semppl.configs.setting import renaming_flag, require
from semppl.data.images import NO_LABEL, Source
from semppl.data.label_split import labels_of_run
from semppl.data.run_data import load_evaluated_data
from semppl.evaluation.evaluate import labelled_images
from semppl.evaluation.evaluators import EVALUATORS, Task, training_sample
from semppl.evaluation.features import embed, map_rows, preparation_of
from semppl.experiments.comparison.results import CLASSIFIERS
from semppl.layers.networks import OnlineNetwork
from semppl.programs import run_flags
from semppl.runs import checkpoints

flags.adopt_module_key_flags(collect)
_BUDGETS = flags.DEFINE_list(
    "other_labels_per_class", ["4", "25", "400"], "Comma-separated numbers of labels per class."
)


def logs_of(run: pathlib.Path, budgets: Sequence[int]) -> list[collect.Log]:
    """Returns the log of a run for each number of labels per class: without a curve, which has the run's own labels.

    Raises:
        ValueError: If the run's method uses labels, or a number is that of the run or less than 1.
    """
    with renaming_flag("workdir", "runs"):
        settings, network, _ = checkpoints.load_online(run)
    if settings.needs_labels:
        raise ValueError(f"--runs must name runs of methods that use no labels. Received: {run}, of {settings.method}")
    for budget in budgets:
        allowed = (
            f"whole numbers from 1 on, other than {settings.labels_per_class} of {run}, whose log `collect` writes"
        )
        require(budget >= 1 and budget != settings.labels_per_class, "other_labels_per_class", allowed, budget)
    source = load_evaluated_data(run, settings, {}).source
    labels = {
        budget: labels_of_run(source, dataclasses.replace(settings, labels_per_class=budget)) for budget in budgets
    }
    accuracies = accuracies_of(network, preparation_of(settings), source, labels)
    log, found = collect.log_of(run), []
    for budget in budgets:
        own = {"labels_per_class": budget, "accuracy": accuracies[budget], "curve": []}
        own |= {"labels_per_class_of_run": settings.labels_per_class}
        found.append(log | own | {"settings": log["settings"] | {"labels_per_class": budget}})
    return found


def accuracies_of(
    network: OnlineNetwork,
    prepare: Callable[[tf.Tensor], tf.Tensor],
    source: Source,
    labels: Mapping[int, np.ndarray],
) -> dict[int, dict[str, dict[str, float]]]:
    """Computes the accuracy on the test images, by classifiers fitted to labelled images: key → representation → classifier.

    Args:
        network: Trained network; its features and projections are compared.
        prepare: Maps images `[B, H, W, C]` to its input.
        source: Training and test images.
        labels: `[n]` int32 visible label of each training image, NO_LABEL where hidden, by key.
    """
    visible = {key: np.flatnonzero(shown != NO_LABEL) for key, shown in labels.items()}
    samples = {key: training_sample(shown, source.train) for key, shown in visible.items()}
    used = np.unique(np.concatenate(list(samples.values())))
    test = labelled_images(source, "test")
    parts = ((source.train, used), (test, None))
    features = [embed(network.features, images, prepare=prepare, positions=positions) for images, positions in parts]
    embedded = {"features": features, "projections": [map_rows(network.project_features, part) for part in features]}
    found = {}
    for key in labels:
        shown, sample = (np.searchsorted(used, positions) for positions in (visible[key], samples[key]))
        found[key] = {
            name: _accuracies(Task(train, source.train.labels[used], shown, sample, held_out, 1), test.labels)
            for name, (train, held_out) in embedded.items()
        }
    return found


def _accuracies(task: Task, truth: np.ndarray) -> dict[str, float]:
    return {name: float(np.mean(EVALUATORS[name].classes(task) == truth)) for name in CLASSIFIERS}


@quiet.program
def main(argv: list[str]) -> int:
    """Writes a file per run and number of labels."""
    del argv
    for budget in _BUDGETS.value:
        require(budget.isdecimal(), "other_labels_per_class", "comma-separated whole numbers", budget)
    for run in collect.runs_from_flag():
        for log in logs_of(run, list(map(int, _BUDGETS.value))):
            print(collect.write(log, collect.folder_from_flag()))
    return 0


if __name__ == "__main__":
    run_flags.accept_instead("runs")
    quiet.run(main)
