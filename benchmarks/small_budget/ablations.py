r"""Trains variants of a preset that differ in one setting, for the same number of steps, and prints a table.

    python -m semppl.benchmarks.small_budget.ablations --preset=cifar10_1_percent_cpu --data_dir=tfds --steps=3000 \
      --workdir=outputs/ablations --ablations_file=benchmarks/small_budget/ablations/cifar10.json

Two variants are trained at a time, each with half of the cores. When the same command is run again after an interruption, it
continues; a command with other variants or seeds adds its results to the file. `--variants` names single variants; by default there
are all that change a setting of the preset and suit it. Accuracy is that on the test images, by classifiers fitted to the
projections of the labelled images. The table of a file that was written before:

    python -m semppl.benchmarks.small_budget.ablations --table_only --ablations_file=benchmarks/small_budget/ablations/cifar10.json
"""

import dataclasses
import pathlib
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

from absl import flags

from semppl.benchmarks.small_budget import resnet9_variants
from semppl.benchmarks.small_budget.ablation_results import (
    Result,
    add,
    read,
    require_compatible,
    table,
)
from semppl.benchmarks.small_budget.ablation_variants import PRESET, VARIANTS
from semppl.benchmarks.small_budget.collect import log_of, recorded
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import adding_origin
from semppl.experiments.comparison import plan, preparation, results
from semppl.experiments.comparison.plan import Training
from semppl.experiments.comparison.trainings import train_side_by_side
from semppl.programs import hyperparameter_flags, run_flags
from semppl.programs.experiments import seeds_flag
from semppl.programs.setting_flags import require_left_out
from semppl.runs.folder import held, make_writable_folder
from semppl.trainers import pretrain

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(hyperparameter_flags)
flags.adopt_module_key_flags(seeds_flag)
_FILE = flags.DEFINE_string("ablations_file", None, "JSON file of the results; without it, none is written.")
_STEPS = flags.DEFINE_list(
    "variant_steps",
    [],
    "Comma-separated VARIANT:STEPS, such as float32:900: number of steps of single variants, to compare encoders at equal time. "
    "All other variants take --steps.",
)
_TABLE_ONLY = flags.DEFINE_bool(
    "table_only", False, "Whether to print the table of --ablations_file and train nothing."
)

_VARIANTS = flags.DEFINE_multi_enum(
    "variants", list(VARIANTS), list(VARIANTS), "Variant to train; repeat the flag for several. By default all."
)

_PROGRAM = (sys.executable, "-m", "semppl.benchmarks.small_budget.resnet9_variants")


def trainings_of(
    names: Sequence[str],
    seeds: Sequence[int],
    shared: Hyperparameters,
    root: pathlib.Path,
    steps: Mapping[str, int] = types.MappingProxyType({}),
) -> list[Training]:
    """Lists the runs, seed by seed; a variant that changes no setting is left out, but for the preset itself.

    Args:
        names: Keys of VARIANTS.
        seeds: Seeds of the label draws and of the trainings.
        shared: Settings of the preset.
        root: Folder of all runs.
        steps: Length of the runs of single variants, in steps, in place of the preset's.

    Raises:
        ValueError: If a variant does not suit the preset, or `steps` has another name.
    """
    others = [name for name in steps if name not in names]
    if others:
        raise ValueError(f"--variant_steps must name variants that are trained. Received: {', '.join(others)}")
    found = []
    for name in names:
        changes = dict(VARIANTS[name][1])
        if name == PRESET or any(getattr(shared, key) != value for key, value in changes.items()):
            own_steps: dict[str, Any] = {"steps": steps[name]} if name in steps else {}
            with adding_origin(f"in the variant {name}"):
                settings = dataclasses.replace(shared, **changes, **own_steps)
                pretrain.check_names(settings)
            found.append((name, settings, changes))
    if not found:
        raise ValueError(f"--variants must name a variant that changes the preset. Received: {', '.join(names)}")
    return [
        Training(
            "semppl",
            0,
            seed,
            root / f"{name}-{seed}",
            dataclasses.replace(settings, seed=seed, label_seed=seed),
            changes,
        )
        for seed in seeds
        for name, settings, changes in found
    ]


def run(
    trainings: Sequence[Training], root: pathlib.Path, written: pathlib.Path | None
) -> tuple[list[Result], list[Training]]:
    """Trains and evaluates runs in a folder, those that are finished first; `written` has the results so far after each.

    Returns:
        The results, and the runs that failed.

    Raises:
        ValueError: If `root` or `written` holds runs of other settings, or another process uses `root`.
    """
    make_writable_folder(root, "workdir")
    prepared = preparation.prepare(trainings)
    found: dict[pathlib.Path, Result] = {}
    failed = []

    def ended(training: Training, seconds: float, code: int) -> None:
        del seconds
        if code:
            failed.append(training)
            print(f"• failed: {training.folder.name}; its output: {training.log}", file=sys.stderr, flush=True)
            return
        judged = results.judge(training, split=prepared.split, digest=prepared.digest)
        found[training.folder] = (
            {"variant": _variant_of(training)} | log_of(training.folder) | {"accuracy": judged.measures["accuracy"]}
        )
        print(f"• {len(found)}/{len(trainings)}: {training.folder.name}", file=sys.stderr, flush=True)
        if written:
            add(written, _ordered(found, trainings))

    if written:
        settings = {(_variant_of(run), run.seed): recorded(run.settings) for run in prepared.runs}
        require_compatible(written, prepared.runs[0].settings.data, settings)
    with held(root):
        plan.require_same_runs(prepared.runs)
        for training in prepared.runs:
            if training.finished:
                ended(training, 0.0, 0)
        train_side_by_side([training for training in prepared.runs if not training.finished], ended, program=_PROGRAM)
    return _ordered(found, trainings), failed


def _variant_of(training: Training) -> str:
    return training.folder.name.rpartition("-")[0]


def _ordered(found: Mapping[pathlib.Path, Result], trainings: Sequence[Training]) -> list[Result]:
    return [found[training.folder] for training in trainings if training.folder in found]


def file_from_flag() -> pathlib.Path | None:
    """Returns the path of `--ablations_file`, None if there is none."""
    return pathlib.Path(_FILE.value) if _FILE.value else None


def suiting(names: Sequence[str], shared: Hyperparameters, root: pathlib.Path) -> list[str]:
    """Returns the variants that suit the preset; those that do not are named, with the reason, on stderr.

    Raises:
        ValueError: If the preset itself cannot be trained.
    """
    trainings_of([PRESET], [0], shared, root)
    found = []
    for name in names:
        try:
            trainings_of([PRESET, name], [0], shared, root)
        except ValueError as error:
            print(f"• left out: {error}", file=sys.stderr, flush=True)
        else:
            found.append(name)
    return found


@quiet.program
def main(argv: list[str]) -> int:
    """Trains, unless only the table is asked for, and prints the table."""
    del argv
    written = file_from_flag()
    if _TABLE_ONLY.value:
        if written is None:
            raise ValueError("--ablations_file must name a file of results with --table_only. Received: none")
        print(table(read(written)))
        return 0
    require_left_out({"seed": "seeds", "label_seed": "seeds"})
    resnet9_variants.register()
    shared = pretrain.hyperparameters_from_flags()
    steps = plan.steps_by_name(_STEPS.value, flag="variant_steps", kind="VARIANT", example="float32:900")
    seeds = seeds_flag.seeds_from_flag(default=1)
    root = pathlib.Path(run_flags.WORKDIR.value)
    given = flags.FLAGS["variants"].present
    names = _VARIANTS.value if given else suiting(_VARIANTS.value, shared, root)
    found, failed = run(trainings_of(names, seeds, shared, root, steps), root, written)
    print(table(found))
    return 1 if failed else 0


if __name__ == "__main__":
    run_flags.accept_instead("table_only")
    quiet.run(main)
