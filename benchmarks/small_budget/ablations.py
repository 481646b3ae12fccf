r"""Trains variants of a preset that differ in one setting, for the same number of steps, and prints a table.

    python -m semppl.benchmarks.small_budget.ablations --flagfile=configs/cifar10_1_percent_cpu.flags --data_dir=tfds --steps=3000 \
      --workdir=outputs/ablations --ablations_file=benchmarks/small_budget/ablations/cifar10.json

Two variants are trained at a time, each with half of the cores. When the same command is run again after an interruption, it
continues. `--variants` names single variants; by default there are all that change a setting of the preset. Accuracy is that on the
test images, by classifiers fitted to the projections of the labelled images. The table of a file that was written before:

    python -m semppl.benchmarks.small_budget.ablations --table_only --ablations_file=benchmarks/small_budget/ablations/cifar10.json
"""

import dataclasses
import json
import math
import pathlib
import statistics
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags

from semppl.benchmarks.small_budget import resnet9_variants
from semppl.benchmarks.small_budget.collect import log_of
from semppl.benchmarks.small_budget.figures import cell
from semppl.configs.hyperparameters import Hyperparameters
from semppl.experiments.comparison import plan, preparation, results
from semppl.experiments.comparison.plan import Training
from semppl.experiments.comparison.significance import paired_difference
from semppl.experiments.comparison.trainings import train_side_by_side
from semppl.programs import quiet
from semppl.programs.experiments import seeds_flag
from semppl.trainers import pretrain

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

VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "preset": ("the preset", {}),
    "lambda_0": ("λ = 0", {"invariance_weight": 0.0}),
    "lambda_1": ("λ = 1", {"invariance_weight": 1.0}),
    "lambda_5": ("λ = 5", {"invariance_weight": 5.0}),
    "invariance_of_both": ("gradient into both distributions of the invariance", {"invariance_stop_gradient": False}),
    "alpha_0.2": ("α = 0.2", {"semantic_weight": 0.2}),
    "alpha_3": ("α = 3", {"semantic_weight": 3.0}),
    "no_semantic_positives": ("α = 0, R = 0", plan.METHODS["no_semantic_positives"].settings),
    "negatives_10": ("M = 10", {"negatives": 10}),
    "negatives_all": ("M = 100", {"negatives": 100}),
    "any_negatives": ("negatives of any class", {"same_class_negatives": True}),
    "other_negatives": ("negatives of other classes", {"same_class_negatives": False}),
    "positives_1": ("R = 1", {"semantic_positives": 1}),
    "positives_10": ("R = 10", {"semantic_positives": 10}),
    "neighbours_3": ("K = 3", {"neighbours": 3}),
    "neighbours_10": ("K = 10", {"neighbours": 10}),
    "one_voting_view": ("votes of one view", {"voting_views": 1}),
    "vote_share_0": ("any vote share", {"min_vote_share": 0.0}),
    "vote_share_0.75": ("vote share of 0.75", {"min_vote_share": 0.75}),
    "vote_share_1": ("unanimous votes", {"min_vote_share": 1.0}),
    "queue_512": ("queue of 512", {"queue_size": 512}),
    "queue_8192": ("queue of 8,192", {"queue_size": 8192}),
    "labelled_16": ("16 labelled images in a batch", {"labelled_batch_size": 16}),
    "labelled_64": ("64 labelled images in a batch", {"labelled_batch_size": 64}),
    "temperature_0.1": ("τ = 0.1", {"temperature": 0.1}),
    "temperature_0.5": ("τ = 0.5", {"temperature": 0.5}),
    "float32": ("float32", {"precision": "float32"}),
    "narrow_resnet9": ("resnet9, widths 32, 64, 64", {"encoder": "resnet9", "widths": (32, 64, 64)}),
    "convnet_stride2": ("convnet_stride2", {"encoder": "convnet_stride2", "widths": ()}),
    "narrow_resnet18": ("resnet18_cifar, width 0.25", {"encoder": "resnet18_cifar", "widths": (), "width": 0.25}),
    "fixed_gain": ("batch norms without gain", {"encoder": "resnet9_fixed_gain", "widths": ()}),
    "norm_before_pool": ("normalisation before pooling", {"encoder": "resnet9_norm_before_pool", "widths": ()}),
}
"""Title of each variant, and its settings that differ from the preset's, by name."""


_VARIANTS = flags.DEFINE_multi_enum(
    "variants", list(VARIANTS), list(VARIANTS), "Variant to train; repeat the flag for several. By default all."
)

_PROGRAM = (sys.executable, "-m", "semppl.benchmarks.small_budget.resnet9_variants")

PRESET = "preset"
"""Variant that changes nothing, with which the others are compared."""


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
    for seed in seeds:
        for name in names:
            changes = dict(VARIANTS[name][1]) | ({"steps": steps[name]} if name in steps else {})
            if name == PRESET or any(getattr(shared, key) != value for key, value in changes.items()):
                settings = dataclasses.replace(shared, **changes, seed=seed, label_seed=seed)
                found.append(Training("semppl", 0, seed, root / f"{name}-{seed}", settings, changes))
    return found


def run(trainings: Sequence[Training], written: pathlib.Path | None) -> tuple[list[dict[str, Any]], list[Training]]:
    """Trains and evaluates runs, those that are finished first; `written` has the results so far after each.

    Returns:
        The results, and the runs that failed. A result has "variant", "seed", "steps", and "accuracy" and "curve" of the run's
        log.
    """
    prepared = preparation.prepare([preparation.settled(training) for training in trainings])
    found: dict[pathlib.Path, dict[str, Any]] = {}
    failed = []

    def ended(training: Training, seconds: float, code: int) -> None:
        del seconds
        if code:
            failed.append(training)
            print(f"• failed: {training.folder.name}; its output: {training.log}", file=sys.stderr, flush=True)
            return
        results.judge(training, split=prepared.split, digest=prepared.digest)
        log = log_of(training.folder)
        name = training.folder.name.rpartition("-")[0]
        found[training.folder] = {"variant": name, **{key: log[key] for key in ("seed", "steps", "accuracy", "curve")}}
        print(f"• {len(found)}/{len(trainings)}: {training.folder.name}", file=sys.stderr, flush=True)
        if written:
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(_ordered(found, trainings)) + "\n", encoding="utf-8")

    for training in prepared.runs:
        training.folder.parent.mkdir(parents=True, exist_ok=True)
        if training.finished:
            ended(training, 0.0, 0)
    train_side_by_side([training for training in prepared.runs if not training.finished], ended, program=_PROGRAM)
    return _ordered(found, trainings), failed


def _ordered(found: Mapping[pathlib.Path, dict[str, Any]], trainings: Sequence[Training]) -> list[dict[str, Any]]:
    return [found[training.folder] for training in trainings if training.folder in found]


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Returns a Markdown table with a row per variant.

    A row has the mean over the seeds (lowest–highest) by each classifier, the difference from the preset by logistic regression,
    with its confidence interval if there are enough seeds, and accuracy and coverage of the last pseudo-labels.
    """
    words = ("nearest labelled image", "logistic regression", "label spreading")
    head = ["", "steps", *words, "difference from the preset", "pseudo-label accuracy", "coverage"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    variants = dict.fromkeys(result["variant"] for result in found)
    of_variant = {name: [result for result in found if result["variant"] == name] for name in variants}
    for name, rows in of_variant.items():
        cells = [", ".join(f"{number:,}" for number in sorted({row["steps"] for row in rows}))]
        cells += [cell([_accuracy(row, classifier) for row in rows]) for classifier in results.CLASSIFIERS]
        cells.append("" if name == PRESET else _difference(rows, of_variant.get(PRESET, [])))
        last = [row["curve"][-1] for row in rows]
        for column in ("pseudo_label_accuracy", "pseudo_label_coverage"):
            known = [entry[column] for entry in last if column in entry]
            cells.append(f"{statistics.fmean(known):.3f}" if known else "–")
        lines.append(f"| {VARIANTS[name][0]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _accuracy(result: Mapping[str, Any], classifier: str) -> float:
    return float(result["accuracy"]["projections"][classifier])


def _difference(rows: Sequence[Mapping[str, Any]], of_preset: Sequence[Mapping[str, Any]]) -> str:
    """Writes the mean difference by logistic regression, paired over seeds, in bold if it is larger than chance."""
    ours, theirs = (
        {row["seed"]: _accuracy(row, "logistic_regression") for row in group} for group in (rows, of_preset)
    )
    difference = paired_difference(ours, theirs)
    if difference is None:
        return ""
    mean = f"**{difference.mean:+.3f}**" if difference.larger_than_chance else f"{difference.mean:+.3f}"
    return mean if math.isnan(difference.low) else f"{mean} ({difference.low:+.3f} to {difference.high:+.3f})"


@quiet.program
def main(argv: list[str]) -> int:
    """Trains, unless only the table is asked for, and prints the table."""
    del argv
    written = pathlib.Path(_FILE.value) if _FILE.value else None
    if _TABLE_ONLY.value:
        if written is None:
            raise ValueError("--ablations_file must name a file of results with --table_only. Received: none")
        print(table(json.loads(written.read_text(encoding="utf-8"))))
        return 0
    resnet9_variants.register()
    shared = pretrain.hyperparameters_from_flags()
    steps = plan.steps_by_name(_STEPS.value, flag="variant_steps", kind="VARIANT", example="float32:900")
    seeds = seeds_flag.seeds_from_flag(default=1)
    trainings = trainings_of(_VARIANTS.value, seeds, shared, pathlib.Path(flags.FLAGS.workdir), steps)
    found, failed = run(trainings, written)
    print(table(found))
    return 1 if failed else 0


if __name__ == "__main__":
    app.run(main)
