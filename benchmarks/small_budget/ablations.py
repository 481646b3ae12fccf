r"""Trains variants of a preset that differ in one setting, for the same number of steps, and prints a table.

    python -m semppl.benchmarks.small_budget.ablations --flagfile=configs/cifar10_1_percent_cpu.flags --data_dir=tfds --steps=3000 \
      --workdir=outputs/ablations --ablations_file=benchmarks/small_budget/ablations/cifar10.json

Each variant is a process on one core; `--jobs` of them run at a time. A program that was killed goes on where it was. Accuracy is
that on the test images, by classifiers fitted to the projections of the labelled images.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from absl import app, flags

from semppl.benchmarks.small_budget.collect import log_of
from semppl.configs.setting import as_arguments
from semppl.evaluation.evaluate import evaluate
from semppl.trainers import pretrain

_JOBS = flags.DEFINE_integer("jobs", 2, "Processes at a time.", lower_bound=1)
_VARIANTS = flags.DEFINE_list("variants", [], "Comma-separated names of the variants to train; empty: all.")
_SEEDS = flags.DEFINE_list("ablation_seeds", ["0"], "Comma-separated seeds.")
_OUT = flags.DEFINE_string("ablations_file", "", "JSON file for the results; empty: none.")

EVALUATORS = ("nearest_neighbours", "logistic_regression", "label_spreading")

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "preset": {},
    "λ = 0": {"invariance_weight": 0},
    "λ = 1": {"invariance_weight": 1},
    "λ = 5": {"invariance_weight": 5},
    "α = 0.2": {"semantic_weight": 0.2},
    "α = 3": {"semantic_weight": 3},
    "α = 0, R = 0": {"semantic_weight": 0, "semantic_positives": 0},
    "M = 10": {"negatives": 10},
    "M = 200": {"negatives": 200},
    "negatives of other classes": {"same_class_negatives": False},
    "R = 1": {"semantic_positives": 1},
    "R = 10": {"semantic_positives": 10},
    "K = 3": {"neighbours": 3},
    "K = 10": {"neighbours": 10},
    "every vote counts": {"min_vote_share": 0},
    "three of four votes": {"min_vote_share": 0.75},
    "queue of 512": {"queue_size": 512},
    "queue of 8,192": {"queue_size": 8192},
    "16 of 256 labelled": {"labelled_batch_size": 16},
    "128 of 256 labelled": {"labelled_batch_size": 128},
    "τ = 0.1": {"temperature": 0.1},
    "τ = 0.5": {"temperature": 0.5},
}
"""Settings of each variant that differ from the preset's, by name."""


def train(name: str, seed: int, arguments: list[str], root: pathlib.Path) -> dict[str, Any]:
    """Trains and evaluates a variant, unless that is done; returns its log."""
    workdir = root / f"{name.replace(' ', '_').replace('/', '_')}-{seed}"
    changes = [f"--{key}={value}" for key, value in VARIANTS[name].items()]
    command = [sys.executable, "-m", "semppl.trainers.pretrain", *arguments, *changes]
    command += [f"--seed={seed}", f"--label_seed={seed}", f"--workdir={workdir}"]
    if not (workdir / "done.json").is_file():
        root.mkdir(parents=True, exist_ok=True)
        with workdir.with_name(workdir.name + ".log").open("w", encoding="utf-8") as log:
            subprocess.run(
                command, check=True, stdout=log, stderr=log, env=os.environ | {"TF_NUM_INTRAOP_THREADS": "1"}
            )
    if not (workdir / "metrics.json").is_file():
        evaluate(workdir, evaluators=EVALUATORS)
    return log_of(workdir)


def row(name: str, log: Mapping[str, Any]) -> str:
    """Writes a row of the table: accuracies by each classifier, and accuracy and coverage of the last pseudo-labels."""
    accuracy, last = log["accuracy"]["projections"], log["curve"][-1]
    cells = [accuracy[evaluator] for evaluator in EVALUATORS]
    cells += [last.get(column, 0.0) for column in ("pseudo_label_accuracy", "pseudo_label_coverage")]
    return f"| {name} | {' | '.join(f'{cell:.3f}' for cell in cells)} |"


def main(argv: list[str]) -> None:
    """Prints a Markdown table, a row as soon as its run is evaluated."""
    del argv
    root = pathlib.Path(flags.FLAGS.workdir)
    arguments = as_arguments(pretrain.hyperparameters_from_flags())
    names = _VARIANTS.value or list(VARIANTS)
    print(
        "| | nearest labelled image | logistic regression | label spreading | pseudo-labels right | pseudo-labelled |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    with concurrent.futures.ThreadPoolExecutor(_JOBS.value) as pool:
        cells = [(name, int(seed)) for seed in _SEEDS.value for name in names]
        logs = pool.map(lambda cell: train(cell[0], cell[1], arguments, root), cells)
        results = []
        for (name, seed), log in zip(cells, logs, strict=True):
            print(row(f"{name}, seed {seed}", log), flush=True)
            results.append({"variant": name, **{key: log[key] for key in ("seed", "steps", "accuracy", "curve")}})
    if _OUT.value:
        pathlib.Path(_OUT.value).write_text(json.dumps(results) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
