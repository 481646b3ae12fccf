r"""Measures the core-seconds that a step of each method takes, and how many steps fit into 20 minutes on two cores.

    taskset -c 0 python -m semppl.benchmarks.small_budget.rates --flagfile=configs/cifar10_1_percent_cpu.flags --data_dir=tfds \
      --workdir=unused --rates_file=benchmarks/small_budget/rates.json

On an idle machine. Each method takes its steps as a run does, input included, in turns with the others; medians. `taskset` keeps
everything on one core, as `semppl-compare` trains two runs side by side on two cores. The medians are written under the name of the
data.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable

from absl import app, flags

from semppl.benchmarks.small_budget import CORES, MINUTES
from semppl.benchmarks.step_share import ROUNDS, medians
from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.pipeline import Pipeline
from semppl.experiments.comparison import plan
from semppl.trainers import pretrain
from semppl.trainers.methods import find_method, settle

METHODS = ("supervised", "simclr", "byol", "relicv2", "fixmatch", "simmatch", "semppl")

_NAMES = flags.DEFINE_list("measured_methods", list(METHODS), "Comma-separated methods to measure.")
_CALLS = flags.DEFINE_integer("steps_a_turn", 5, "Steps in a turn.", lower_bound=1)
_OUT = flags.DEFINE_string("rates_file", "", "JSON file to add the seconds to; empty: none.")


def settings_of(method: str, shared: Hyperparameters) -> Hyperparameters:
    """Returns the settings with which a comparison trains a method."""
    training = plan.plan(shared, pathlib.Path("unused"), methods=[method], seeds=[0])[0]
    settings = settle(training.settings, given=(), workdir=training.folder)
    return dataclasses.replace(settings, recipe=find_method(settings.method).suitable_recipe(settings.recipe))


def make_step(settings: Hyperparameters) -> Callable[[], object]:
    """Returns a function that takes one step of a run, on the next batch, and waits for it."""
    source, labels, settings = pretrain.prepare_data(settings, 1)
    model = pretrain.build_model(settings, len(source.class_names), jit_compile=False)
    batches = iter(Pipeline(source.train, labels, settings).batches(first_step=0).repeat())
    step = model.make_train_function()
    return lambda: float(step(batches)["loss"])


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    shared = pretrain.hyperparameters_from_flags()
    steps = {name: make_step(settings_of(name, shared)) for name in _NAMES.value}
    seconds = medians(steps, ROUNDS.value, calls=_CALLS.value)
    print(f"| method | core-seconds a step | steps in {MINUTES} minutes on {CORES} cores |\n|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.4f} | {int(60 * MINUTES * CORES / value):,} |")
    if _OUT.value:
        path = pathlib.Path(_OUT.value)
        rates = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        rates[shared.data.rpartition(":")[2]] = {name: round(value, 4) for name, value in seconds.items()}
        path.write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
