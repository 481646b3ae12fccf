r"""Measures the core-seconds that a step of each method takes, and how many steps fit into the time of SemPPL's `--steps`.

    taskset -c 0 python -m semppl.benchmarks.small_budget.rates --flagfile=configs/cifar10_1_percent_cpu.flags --data_dir=tfds \
      --rates_file=benchmarks/small_budget/rates.json

On an idle machine. Each method takes its steps as a run does, input included. Methods are measured in turn; the table has the
medians, which are written under the name of the data, and the steps of equal time if `semppl` is measured. `taskset` keeps
everything on one core, as `semppl-compare` trains two runs side by side on two cores; where both cores are busy, a step may take
longer.
"""

import json
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping

from semppl.programs import quiet  # before TensorFlow

# isort: split

from absl import flags

from semppl.benchmarks.small_budget.collect import name_of_data
from semppl.benchmarks.step_share import ROUNDS
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import renaming_flag
from semppl.data.pipeline import Pipeline
from semppl.experiments.comparison import plan
from semppl.experiments.comparison.preparation import settled
from semppl.programs import run_flags
from semppl.trainers import pretrain

UNTIMED = 5
"""Steps at the start of a turn that are not timed."""

METHODS = ("supervised", "simclr", "byol", "relicv2", "fixmatch", "simmatch", "semppl")

_NAMES = flags.DEFINE_list("measured_methods", list(METHODS), "Comma-separated methods to measure.")
_STEPS = flags.DEFINE_integer("steps_a_turn", 20, "Timed steps of a method per turn.", lower_bound=1)
_OUT = flags.DEFINE_string(
    "rates_file",
    "",
    "JSON file of rates, by data and method, in which the measured ones are replaced. Empty: none is written.",
)


def settings_of(method: str, shared: Hyperparameters) -> Hyperparameters:
    """Returns the settings with which a comparison trains a method."""
    return settled(plan.plan(shared, pathlib.Path("unused"), methods=[method], seeds=[0])[0]).settings


def make_step(settings: Hyperparameters) -> Callable[[], object]:
    """Returns a function that takes one step of a run, on the next batch, and waits for it."""
    source, labels, settings = pretrain.prepare_data(settings, 1)
    model = pretrain.build_model(settings, len(source.class_names), jit_compile=False)
    batches = iter(Pipeline(source.train, labels, settings).batches(first_step=0).repeat())
    step = model.make_train_function()
    return lambda: float(step(batches)["loss"])


def medians_over_turns(steps: Mapping[str, Callable[[], object]], turns: int, count: int) -> dict[str, float]:
    """Returns the median over turns of the seconds a step; the first steps of a turn, whose input was made before, do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            for _ in range(UNTIMED):
                step()
            start = time.perf_counter()
            for _ in range(count):
                step()
            seconds[name].append((time.perf_counter() - start) / count)
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(seconds: Mapping[str, float], steps: int) -> str:
    """Returns a Markdown table: seconds a step of each method, and its steps in the time that SemPPL takes for `steps`.

    Without SemPPL, or with `steps` = 0, where the length is that of `--epochs`, there are no steps.
    """
    minutes = steps * seconds.get("semppl", 0.0) / 60
    head = ["method", "core-seconds a step"]
    head += [] if not minutes else [f"steps in {minutes:.1f} minutes on one core"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, value in seconds.items():
        fitting = [] if not minutes else [f"{round(60 * minutes / value):,}"]
        lines.append(f"| {' | '.join([name, f'{value:.4f}', *fitting])} |")
    return "\n".join(lines)


@quiet.program
def main(argv: list[str]) -> int:
    """Prints a Markdown table."""
    del argv
    with renaming_flag("methods", "measured_methods"):
        plan.check_methods(_NAMES.value)
    shared = pretrain.hyperparameters_from_flags()
    steps = {name: make_step(settings_of(name, shared)) for name in _NAMES.value}
    seconds = medians_over_turns(steps, ROUNDS.value, _STEPS.value)
    print(table(seconds, shared.steps))
    if _OUT.value:
        path = pathlib.Path(_OUT.value)
        rates = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        rates.setdefault(name_of_data(shared.data), {}).update(
            {name: round(value, 4) for name, value in seconds.items()}
        )
        path.write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    run_flags.accept_none()
    quiet.run(main)
