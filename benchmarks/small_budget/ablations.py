r"""Trains variants of a preset that differ in one setting, for the same number of steps, and prints a table.

    python -m semppl.benchmarks.small_budget.ablations --preset=cifar10_1_percent_cpu --data_dir=tfds --steps=3000 \
      --workdir=outputs/ablations --ablations_file=benchmarks/small_budget/ablations/cifar10.json

Two variants are trained at a time, each with half of the cores. When the same command is run again after an interruption, it
continues; a command with other variants or seeds adds its results to the file. `--variants` names single variants; by default there
are all that change a setting of the preset and suit it. Accuracy is that on the test images, by classifiers fitted to the
projections of the labelled images. The table of a file that was written before:

    python -m semppl.benchmarks.small_budget.ablations --table_only --ablations_file=benchmarks/small_budget/ablations/cifar10.json
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import statistics
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from semppl.benchmarks.small_budget import resnet9_variants
from semppl.benchmarks.small_budget.collect import log_of, recorded
from semppl.benchmarks.small_budget.figures import cell
from semppl.configs.hyperparameters import Hyperparameters
from semppl.experiments.comparison import plan, preparation, results
from semppl.experiments.comparison.plan import Training
from semppl.experiments.comparison.significance import Difference, false_positives, paired_difference
from semppl.experiments.comparison.trainings import train_side_by_side
from semppl.programs import hyperparameter_flags, quiet, run_flags
from semppl.programs.experiments import seeds_flag
from semppl.programs.setting_flags import require_left_out
from semppl.runs.files import write_atomically
from semppl.runs.folder import held, make_writable_folder
from semppl.trainers import pretrain

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(hyperparameter_flags)
flags.adopt_module_key_flags(seeds_flag)
run_flags.accept_instead("table_only")
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
    "lambda_1_of_both": (
        "λ = 1, gradient into both distributions of the invariance",
        {"invariance_weight": 1.0, "invariance_stop_gradient": False},
    ),
    "alpha_0.2": ("α = 0.2", {"semantic_weight": 0.2}),
    "alpha_3": ("α = 3", {"semantic_weight": 3.0}),
    "no_semantic_positives": ("α = 0, R = 0", {"semantic_weight": 0.0, "semantic_positives": 0}),
    "negatives_10": ("M = 10", {"negatives": 10}),
    "negatives_100": ("M = 100", {"negatives": 100}),
    "any_negatives": ("negatives of any class", {"same_class_negatives": True}),
    "other_negatives": ("negatives of other classes", {"same_class_negatives": False}),
    "positives_1": ("R = 1", {"semantic_positives": 1}),
    "positives_10": ("R = 10", {"semantic_positives": 10}),
    "neighbours_3": ("K = 3", {"neighbours": 3}),
    "neighbours_10": ("K = 10", {"neighbours": 10}),
    "neighbours_4": ("K = 4: 16 votes", {"neighbours": 4}),
    "one_voting_view": ("K = 4, of one view: 4 votes", {"voting_views": 1, "neighbours": 4}),
    "vote_share_0": ("any vote share", {"min_vote_share": 0.0}),
    "vote_share_0.75": ("vote share of 0.75", {"min_vote_share": 0.75}),
    "vote_share_1": ("unanimous votes", {"min_vote_share": 1.0}),
    "queue_512": ("queue of 512", {"queue_size": 512}),
    "queue_8192": ("queue of 8,192", {"queue_size": 8192}),
    "labelled_16": ("16 labelled images in a batch", {"labelled_batch_size": 16}),
    "labelled_64": ("64 labelled images in a batch", {"labelled_batch_size": 64}),
    "recipe_cifar": ("views of the recipe cifar", {"recipe": "cifar"}),
    "recipe_gentle": ("views of the recipe gentle", {"recipe": "gentle"}),
    "temperature_0.1": ("τ = 0.1", {"temperature": 0.1}),
    "temperature_0.5": ("τ = 0.5", {"temperature": 0.5}),
    "float32": ("float32", {"precision": "float32"}),
    "wide_resnet9": ("resnet9, widths 64, 128, 128", {"encoder": "resnet9", "widths": (64, 128, 128)}),
    "narrow_resnet9": ("resnet9, widths 32, 64, 64", {"encoder": "resnet9", "widths": (32, 64, 64)}),
    "convnet_stride2": ("convnet_stride2", {"encoder": "convnet_stride2", "widths": ()}),
    "narrow_resnet18": ("resnet18_cifar, width 0.25", {"encoder": "resnet18_cifar", "widths": (), "width": 0.25}),
    "fixed_gain": ("batch norms without gain", {"encoder": "resnet9_fixed_gain"}),
    "norm_before_pool": ("normalisation before pooling", {"encoder": "resnet9_norm_before_pool"}),
}
"""Title of each variant, and its settings that differ from the preset's, by name."""

TITLES = {name: title for name, (title, _) in VARIANTS.items()} | {
    "progressive_resizing": "smaller views in the first half of the time",
    "growing_batch": "smaller batches in the first half of the time",
}
"""Title of each row, by name: the variants, and those that `semppl.benchmarks.small_budget.growing` trains."""

_VARIANTS = flags.DEFINE_multi_enum(
    "variants", list(VARIANTS), list(VARIANTS), "Variant to train; repeat the flag for several. By default all."
)

Result = dict[str, Any]

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
    for name in names:
        changes = dict(VARIANTS[name][1])
        if name == PRESET or any(getattr(shared, key) != value for key, value in changes.items()):
            own_steps: dict[str, Any] = {"steps": steps[name]} if name in steps else {}
            with _naming_variant(name):
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


@contextlib.contextmanager
def _naming_variant(name: str) -> Iterator[None]:
    """Adds the variant to the message of a ValueError about its settings."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error} (in the variant {name})") from error


def run(
    trainings: Sequence[Training], root: pathlib.Path, written: pathlib.Path | None
) -> tuple[list[Result], list[Training]]:
    """Trains and evaluates runs in a folder, those that are finished first; `written` has the results so far after each.

    Returns:
        The results, and the runs that failed. A result is the log of a run, see `collect.log_of`, with its "variant".

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
        require_same_results(written, {(_variant_of(run), run.seed): recorded(run.settings) for run in prepared.runs})
    with held(root):
        plan.require_same_runs(prepared.runs)
        for training in prepared.runs:
            if training.finished:
                ended(training, 0.0, 0)
        train_side_by_side([training for training in prepared.runs if not training.finished], ended, program=_PROGRAM)
    return _ordered(found, trainings), failed


def read(path: pathlib.Path) -> list[Result]:
    """Reads a file of results.

    Raises:
        ValueError: If it is none, or does not exist.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"--ablations_file must name a file that can be read. Received: {path}: {error.strerror}"
        ) from error
    except ValueError:
        found = None
    if not isinstance(found, list) or any(result.get("variant") not in TITLES for result in found):
        raise ValueError(f"--ablations_file must be a file that this program has written. Received: {path}")
    return found


def require_same_results(path: pathlib.Path, runs: Mapping[tuple[str, int], Mapping[str, Any]]) -> None:
    """Refuses a file that has a run of other settings under the same variant and seed, which would be lost.

    Args:
        path: File of results, which need not exist.
        runs: Settings of the runs that will be added that differ from the defaults, by variant and seed.

    Raises:
        ValueError: If a setting differs, naming the run and the settings.
    """
    for result in read(path) if path.is_file() else []:
        key = (result["variant"], result["seed"])
        if key in runs:
            here, there = json.loads(json.dumps(dict(runs[key]))), result.get("settings", {})
            differing = sorted(name for name in {**here, **there} if here.get(name) != there.get(name))
            if differing:
                allowed = f"a file with the same settings of {key[0]}, seed {key[1]}, or without it"
                raise ValueError(
                    f"--ablations_file must be {allowed}. Received: {path}, which differs in {', '.join(differing)}"
                )


def file_from_flag() -> pathlib.Path | None:
    """Returns the path of `--ablations_file`, None if there is none."""
    return pathlib.Path(_FILE.value) if _FILE.value else None


def add(path: pathlib.Path, found: Sequence[Result]) -> None:
    """Writes results, and keeps those of other variants and seeds that the file has."""
    new = {(result["variant"], result["seed"]): result for result in found}
    merged = {(result["variant"], result["seed"]): result for result in (read(path) if path.is_file() else [])} | new
    order = list(TITLES)
    kept = [merged[key] for key in sorted(merged, key=lambda key: (key[1], order.index(key[0])))]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(kept) + "\n")


def _variant_of(training: Training) -> str:
    return training.folder.name.rpartition("-")[0]


def _ordered(found: Mapping[pathlib.Path, Result], trainings: Sequence[Training]) -> list[Result]:
    return [found[training.folder] for training in trainings if training.folder in found]


def table(found: Sequence[Result]) -> str:
    """Returns a Markdown table with a row per variant.

    A row has the mean over the seeds (lowest–highest) by each classifier, the difference from the preset by logistic regression,
    with its confidence interval if there are enough seeds, and accuracy and coverage of the last pseudo-labels.
    """
    words = ("nearest labelled image", "logistic regression", "label spreading")
    head = ["", "steps", *words, "difference from the preset", "pseudo-label accuracy", "coverage"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    variants = dict.fromkeys(result["variant"] for result in found)
    of_variant = {name: [result for result in found if result["variant"] == name] for name in variants}
    differences = {
        name: _difference(rows, of_variant[PRESET])
        for name, rows in of_variant.items()
        if name != PRESET and PRESET in of_variant
    }
    for name, rows in of_variant.items():
        cells = [", ".join(f"{number:,}" for number in sorted({row["steps"] for row in rows}))]
        cells += [cell([_accuracy(row, classifier) for row in rows]) for classifier in results.CLASSIFIERS]
        cells.append(_in_words(differences.get(name)))
        last = [row["curve"][-1] for row in rows if row["curve"]]
        for column in ("pseudo_label_accuracy", "pseudo_label_coverage"):
            known = [entry[column] for entry in last if column in entry]
            cells.append(f"{statistics.fmean(known):.3f}" if known else "–")
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} |")
    tested = [one for one in differences.values() if one and not math.isnan(one.low)]
    if PRESET not in of_variant:
        lines += ["", "Without the variant preset, there is nothing to compare with."]
    if tested:
        verdict = f"{sum(one.significant for one in tested)} of {len(tested)} differences are significant at 95 %"
        expected = round(false_positives(len(tested)), 1)
        lines += ["", f"In bold: {verdict}; {expected:g} false positives are expected."]
    return "\n".join(lines)


def _accuracy(result: Result, classifier: str) -> float:
    return float(result["accuracy"]["projections"][classifier])


def _difference(rows: Sequence[Result], of_preset: Sequence[Result]) -> Difference | None:
    """Computes the difference by logistic regression, paired over seeds; None without a common seed."""
    ours, theirs = (
        {row["seed"]: _accuracy(row, "logistic_regression") for row in group} for group in (rows, of_preset)
    )
    return paired_difference(ours, theirs)


def _in_words(difference: Difference | None) -> str:
    """Writes a difference, its mean in bold if it is significant; nothing for None."""
    if difference is None:
        return ""
    mean, *interval = results.interval(difference).split(" ", 1)
    return " ".join([f"**{mean}**" if difference.significant else mean, *interval])


def suiting(names: Sequence[str], shared: Hyperparameters, root: pathlib.Path) -> list[str]:
    """Returns the variants that suit the preset; those that do not are named, with the reason, on stderr."""
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
    quiet.run(main)
