r"""Trains SemPPL with smaller views or batches at first, and then as the preset says, and prints a row for docs/ablations.md.

    python -m semppl.benchmarks.small_budget.growing --preset=fashion_mnist_cpu --data_dir=tfds --seeds=3 \
      --steps=795 --first_steps=495 --first_large_size=14 --ablations_file=benchmarks/small_budget/ablations/fashion_mnist.json

`--steps` is the length of the whole run, over which the learning rate is scheduled, and `--first_steps` that of its first part; for
equal time, `semppl.benchmarks.small_budget.rates` measures the seconds a step of each part. The number of labelled images in a
batch stays. Runs are not saved: one that is interrupted starts again.
"""

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm
from absl import flags

from semppl.benchmarks.small_budget import ablations, more_labels
from semppl.benchmarks.small_budget.collect import recorded
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import require
from semppl.data.images import Source
from semppl.data.pipeline import Pipeline
from semppl.evaluation.features import preparation_of
from semppl.programs import hyperparameter_flags, quiet, run_flags
from semppl.programs.experiments import seeds_flag
from semppl.programs.setting_flags import require_left_out
from semppl.trainers import pretrain
from semppl.trainers.method import Method
from semppl.trainers.pretrained import initial_encoder

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(hyperparameter_flags)
flags.adopt_module_key_flags(seeds_flag)
flags.declare_key_flag("ablations_file")
run_flags.accept_instead("first_steps")
_FIRST_STEPS = flags.DEFINE_integer("first_steps", 0, "Steps of the first part of a run.", lower_bound=0)
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
            ValueError: If the part is not shorter, its setting not smaller, or its value of no use.
        """
        last = whole.steps - 1
        require(0 < self.steps <= last, "first_steps", f"from 1 to {last:,}, less than --steps", self.steps)
        least = whole.labelled_batch_size if self.setting == "batch_size" else 7  # smaller views than 8 px are refused
        most = getattr(whole, self.setting)
        allowed = f"more than {least} and less than --{self.setting}={most}"
        require(least < self.value < most, f"first_{self.setting}", allowed, self.value)
        changes: dict[str, Any] = {self.setting: self.value}
        found = dataclasses.replace(whole, **changes)
        pretrain.check_names(found)
        return found

    def recorded(self, whole: Hyperparameters) -> dict[str, Any]:
        """Returns the settings of a run for the file of results."""
        return recorded(whole) | {"first_steps": self.steps, f"first_{self.setting}": self.value}


Data = tuple[Source, np.ndarray, Hyperparameters]


def part_from_flags() -> FirstPart:
    """Returns the first part.

    Raises:
        ValueError: Unless one setting is given.
    """
    values = {"large_size": _FIRST_SIZE.value, "batch_size": _FIRST_BATCH.value}
    given = {name: value for name, value in values.items() if value}
    received = " ".join(f"--first_{name}={value}" for name, value in given.items()) or "none"
    require(len(given) == 1, "first_large_size", "given, or --first_batch_size, and not both", received)
    ((setting, value),) = given.items()
    return FirstPart(_FIRST_STEPS.value, setting, value)


def train(data: Data, part: FirstPart) -> ablations.Result:
    """Trains and evaluates a run; returns its row of the results, with accuracies by representation and classifier.

    Args:
        data: Images, visible labels and resolved settings of the run.
        part: First part of the run.
    """
    source, labels, settings = data
    first = part.settings(settings)
    model = pretrain.build_model(settings, len(source.class_names), jit_compile=False)
    initial_encoder.fit_whitening(model, source.train, settings)
    _take_steps(model, first, Pipeline(source.train, labels, first).batches(first_step=0), part.steps)
    rest = Pipeline(source.train, labels, settings).batches(first_step=part.steps)
    _take_steps(model, settings, rest, settings.steps - part.steps)
    accuracy = more_labels.accuracies_of(model.online, preparation_of(settings), source, {0: labels})[0]
    result = {"variant": NAMES[part.setting], "seed": settings.seed, "settings": part.recorded(settings)}
    result |= {"data": settings.data, "method": settings.method, "labels_per_class": settings.labels_per_class}
    return json.loads(json.dumps(result | {"steps": settings.steps, "accuracy": accuracy, "curve": []}))


def _take_steps(model: Method, settings: Hyperparameters, batches: tf.data.Dataset, count: int) -> None:
    """Takes steps with the settings of a part of a run, for which the step is traced anew."""
    model.hyperparameters = settings
    step, rows = model.make_train_function(force=True), iter(batches.repeat())
    for _ in tqdm.trange(
        count, desc=f"views of {settings.large_size} px, batches of {settings.batch_size}", unit=" steps"
    ):
        step(rows)


@quiet.program
def main(argv: list[str]) -> int:
    """Trains a run per seed, and prints the table."""
    del argv
    require_left_out({"seed": "seeds", "label_seed": "seeds"})
    tf.config.experimental.enable_op_determinism()
    shared, part = pretrain.hyperparameters_from_flags(), part_from_flags()
    part.settings(shared)
    seeds = seeds_flag.seeds_from_flag(default=1)
    runs = [pretrain.prepare_data(dataclasses.replace(shared, seed=seed, label_seed=seed), 1) for seed in seeds]
    written, found = ablations.file_from_flag(), []
    if written:
        keys = {(NAMES[part.setting], settings.seed): part.recorded(settings) for _, _, settings in runs}
        ablations.require_same_results(written, keys)
    for run in runs:
        found.append(train(run, part))
        if written:
            ablations.add(written, found)
    print(ablations.table(ablations.read(written) if written else found))
    return 0


if __name__ == "__main__":
    quiet.run(main)
