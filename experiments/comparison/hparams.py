"""The runs of a comparison on TensorBoard's HParams dashboard."""

import dataclasses
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api

from semppl.configs.family import FamilySettings
from semppl.experiments.comparison.plan import RAW_PIXELS, Training
from semppl.experiments.comparison.results import Result, classifier_in_words, rows_of

_FOLDER = "hparams"
_FAMILY = {field.name for field in dataclasses.fields(FamilySettings)}


def write_hparams(workdir: pathlib.Path, judged: Mapping[Training, Result]) -> None:
    """Replaces the folder `hparams`: method, labels per class, seed, settings of its own and accuracies of each run.

    Args:
        workdir: Folder of all runs.
        judged: Results by run.
    """
    folder = workdir / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    runs = [(training, _settings(training), _accuracies(result)) for training, result in judged.items()]
    values: dict[str, list[Any]] = {}
    for name, value in (pair for _, settings, _ in runs for pair in settings.items()):
        values.setdefault(name, []).append(value)
    classifiers = dict.fromkeys(name for _, _, accuracies in runs for name in accuracies)
    with tf.summary.create_file_writer(str(folder)).as_default():
        api.hparams_config(
            hparams=[api.HParam(name, api.Discrete(sorted(set(found)))) for name, found in values.items()],
            metrics=[
                api.Metric(_tag(name), display_name=f"accuracy, {classifier_in_words(name)}") for name in classifiers
            ],
        )
    for training, settings, accuracies in runs:
        with tf.summary.create_file_writer(str(folder / training.folder.name)).as_default():
            api.hparams(settings, trial_id=training.folder.name)
            for name, value in accuracies.items():
                tf.summary.scalar(_tag(name), value, step=training.settings.steps)


def _settings(training: Training) -> dict[str, Any]:
    own = {name: value for name, value in training.changes.items() if name in _FAMILY}
    return {"method": training.method, "labels_per_class": training.labels_per_class, "seed": training.seed} | own


def _accuracies(result: Result) -> dict[str, float]:
    """Returns the values of the table's rows of a run, by classifier."""
    rows = [row for row in rows_of([result]) if row.method != RAW_PIXELS]
    return {row.classifier: row.values[result.labels_per_class][result.seed] for row in rows}


def _tag(classifier: str) -> str:
    return f"accuracy/{classifier}"
