r"""Trains SemPPL with smaller views or batches at first, and then as the preset says, and prints a table.

    python -m semppl.benchmarks.small_budget.growing --preset=fashion_mnist_cpu --data_dir=tfds --seeds=3 \
      --steps=861 --first_steps=561 --first_batch_size=128 \
      --ablations_file=benchmarks/small_budget/ablations/fashion_mnist_equal_time.json

`--steps` is the length of the whole run, over which the learning rate is scheduled, and `--first_steps` that of its first part; for
equal time, `semppl.benchmarks.small_budget.rates` measures the seconds a step of each part. The number of labelled images in a
batch and the learning rate do not depend on the part. After smaller batches, the second part continues at the position in the
unlabelled images that full batches would have reached. Runs are not saved: one that is interrupted starts again.
"""

import dataclasses
import json
import pathlib
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import tensorflow as tf
import tqdm
from absl import flags

from semppl.benchmarks.small_budget import ablation_results, ablations, more_labels
from semppl.benchmarks.small_budget.ablation_results import Result
from semppl.benchmarks.small_budget.collect import POINTS, recorded, thinned
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import renaming_flag, require
from semppl.data.images import Source
from semppl.data.pipeline import Pipeline
from semppl.evaluation.evaluate import labelled_images
from semppl.evaluation.features import preparation_of
from semppl.layers.networks import OnlineNetwork
from semppl.programs import hyperparameter_flags, run_flags
from semppl.programs.experiments import seeds_flag
from semppl.programs.setting_flags import require_left_out
from semppl.runs.training_time import versions
from semppl.trainers import pretrain
from semppl.trainers.method import Method
from semppl.trainers.methods import settle
from semppl.trainers.pretrained import initial_encoder
from semppl.trainers.reports import callbacks

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(hyperparameter_flags)
flags.adopt_module_key_flags(seeds_flag)
flags.declare_key_flag("ablations_file")
_FIRST_STEPS = flags.DEFINE_integer(
    "first_steps", 0, "Number of steps of the first part, from 1 to --steps - 1.", lower_bound=0
)
_FIRST_SIZE = flags.DEFINE_integer(
    "first_large_size", 0, "Side of the views in the first part, in pixels; 0: --large_size.", lower_bound=0
)
_FIRST_BATCH = flags.DEFINE_integer(
    "first_batch_size", 0, "Images in a batch of the first part; 0: --batch_size.", lower_bound=0
)

NAMES: Mapping[str, str] = types.MappingProxyType({"large_size": "progressive_resizing", "batch_size": "growing_batch"})
"""Name of the row in the table of ablations, by the setting that grows."""


@dataclasses.dataclass(frozen=True)
class FirstPart:
    """The first part of a run.

    Attributes:
        steps: Number of its steps.
        setting: Setting that is smaller in it, a key of NAMES.
        value: Value of the setting.
    """

    steps: int
    setting: str
    value: int

    def settings(self, whole: Hyperparameters) -> Hyperparameters:
        """Returns the settings of the first part of a run with the settings `whole`.

        Raises:
            ValueError: If the part is not shorter, or the setting not smaller, or too small for the network or the loss.
        """
        last = whole.steps - 1
        require(0 < self.steps <= last, "first_steps", f"from 1 to {last:,}, less than --steps", self.steps)
        most = getattr(whole, self.setting)
        require(0 < self.value < most, f"first_{self.setting}", f"less than --{self.setting}={most}", self.value)
        least = whole.labelled_batch_size if self.setting == "batch_size" else 0
        require(self.value > least, f"first_{self.setting}", f"more than --labelled_batch_size={least}", self.value)
        changes: dict[str, Any] = {self.setting: self.value}
        with renaming_flag(self.setting, f"first_{self.setting}"):
            found = dataclasses.replace(whole, **changes)
            pretrain.check_names(found)
        return found

    def recorded(self, whole: Hyperparameters) -> dict[str, Any]:
        """Returns the settings of a run for the file of results."""
        return recorded(whole) | {"first_steps": self.steps, f"first_{self.setting}": self.value}


class Data(NamedTuple):
    """What a run is trained on.

    Attributes:
        source: Images, their true labels and class names.
        labels: `[n]` int32 visible label of each training image, NO_LABEL where hidden.
        settings: Settings, resolved for the images.
    """

    source: Source
    labels: np.ndarray
    settings: Hyperparameters


def part_from_flags() -> FirstPart:
    """Returns the first part.

    Raises:
        ValueError: Unless one setting is given.
    """
    values = {"large_size": _FIRST_SIZE.value, "batch_size": _FIRST_BATCH.value}
    given = {name: value for name, value in values.items() if value}
    received = " ".join(f"--first_{name}={value}" for name, value in given.items()) or "none"
    if len(given) != 1:
        raise ValueError(f"Set exactly one of --first_large_size and --first_batch_size. Received: {received}")
    ((setting, value),) = given.items()
    return FirstPart(_FIRST_STEPS.value, setting, value)


def load(settings: Hyperparameters) -> Data:
    """Loads what a run is trained on.

    Raises:
        ValueError: If the run is not one of SemPPL that trains the whole network from random weights, or has no test images.
    """
    require(settings.method == "semppl", "method", "semppl", settings.method)
    require(settings.train == "all", "train", "all", settings.train)
    for name in ("initial_run", "initial_weights", "compatible_with"):
        value = getattr(settings, name)
        require(not value, name, "empty, since runs begin with random weights", value)
    data = Data(*pretrain.prepare_data(settle(settings, given=(), workdir=pathlib.Path("unused")), 1))
    labelled_images(data.source, "test")
    return data


def train(data: Data, part: FirstPart) -> tuple[Method, list[dict[str, float]]]:
    """Trains a run; returns its model, and the report of each step with the number of the step.

    Raises:
        NotFinite: If a loss term or a weight is NaN or Inf.
        ValueError: If the part does not suit the settings.
    """
    source, labels, settings = data
    first = part.settings(settings)
    model = pretrain.build_model(settings, len(source.class_names), jit_compile=False)
    initial_encoder.fit_whitening(model, source.train, settings)
    reports = _take_steps(model, first, Pipeline(source.train, labels, first).batches(first_step=0), part.steps)
    rest = Pipeline(source.train, labels, settings).batches(first_step=part.steps)
    reports += _take_steps(model, settings, rest, settings.steps - part.steps)
    callbacks.require_finite(model.variables)
    return model, [{"step": number} | report for number, report in enumerate(reports, 1)]


def _take_steps(
    model: Method, settings: Hyperparameters, batches: tf.data.Dataset, count: int
) -> list[dict[str, float]]:
    """Takes steps with the settings of a part of a run, for which the step is traced anew; returns their reports."""
    model.hyperparameters = settings
    step, rows, reports = model.make_train_function(force=True), iter(batches.repeat()), []
    desc = f"views of {settings.large_size} px, batches of {settings.batch_size}"
    for _ in tqdm.trange(count, desc=desc, unit=" steps", mininterval=1):
        report = {name: float(value) for name, value in step(rows).items()}
        callbacks.require_finite_report(report, step=int(model.optimizer.iterations))
        reports.append(report)
    return reports


def result_of(data: Data, part: FirstPart, model: Method, reports: Sequence[dict[str, float]]) -> Result:
    """Evaluates a run in float32, as every run is evaluated; returns its row of the results."""
    source, labels, settings = data
    network = OnlineNetwork(**settings.network, name="online")
    network.build([None, settings.large_size, settings.large_size, settings.channels])
    network.set_weights(model.online.get_weights())
    accuracy = more_labels.accuracies_of(network, preparation_of(settings), source, {0: labels})[0]
    result = {"variant": NAMES[part.setting], "seed": settings.seed, "settings": part.recorded(settings)}
    result |= {"data": settings.data, "method": settings.method, "labels_per_class": settings.labels_per_class}
    result |= {"steps": settings.steps, "accuracy": accuracy, "curve": thinned(reports, POINTS)}
    result |= {"versions": versions()}
    return json.loads(json.dumps(result))  # as read from a file: lists in place of tuples


@quiet.program
def main(argv: list[str]) -> int:
    """Trains a run per seed, and prints the table.

    Returns:
        The exit code: 0; 2 for wrong flags; 3 if a loss or a weight is NaN or Inf.
    """
    del argv
    require_left_out({"seed": "seeds", "label_seed": "seeds"})
    tf.config.experimental.enable_op_determinism()
    part, seeds = part_from_flags(), seeds_flag.seeds_from_flag(default=1)
    shared = pretrain.hyperparameters_from_flags()
    runs = [load(dataclasses.replace(shared, seed=seed, label_seed=seed)) for seed in seeds]
    part.settings(runs[0].settings)
    written, found = ablations.file_from_flag(), []
    if written:
        keys = {(NAMES[part.setting], data.settings.seed): part.recorded(data.settings) for data in runs}
        ablation_results.require_compatible(written, shared.data, keys)
    for data in runs:
        try:
            found.append(result_of(data, part, *train(data, part)))
        except callbacks.NotFinite as error:
            print(f"error: seed {data.settings.seed}: {error}", file=sys.stderr, flush=True)
            return 3
        if written:
            ablation_results.add(written, found)
    print(ablation_results.table(ablation_results.read(written) if written else found))
    return 0


if __name__ == "__main__":
    run_flags.accept_none()
    quiet.run(main)
