r"""Trains variants of a preset that differ in one setting, for the same number of steps, and prints a table.

    python -m semppl.benchmarks.small_budget.ablations --flagfile=configs/cifar10_1_percent_cpu.flags --data_dir=tfds --steps=3000 \
      --workdir=outputs/ablations --ablations_file=benchmarks/small_budget/ablations/cifar10.json

Each variant is a process with one thread for operations; `--jobs` of them run at a time. When the same command is run again after
an interruption, it continues. Accuracy is that on the test images, by classifiers fitted to the projections of the labelled images.
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
from semppl.experiments.comparison import plan
from semppl.trainers import pretrain

_JOBS = flags.DEFINE_integer(
    "jobs", 2, "Number of variants that are trained at a time, each on one core.", lower_bound=1
)
_SEEDS = flags.DEFINE_list("ablation_seeds", ["0"], "Comma-separated seeds of the training and of the labels.")
_OUT = flags.DEFINE_string("ablations_file", "", "JSON file for the results; empty: none.")

EVALUATORS = ("nearest_neighbours", "logistic_regression", "label_spreading")

VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "preset": ("the preset", {}),
    "lambda_0": ("λ = 0", {"invariance_weight": 0}),
    "lambda_1": ("λ = 1", {"invariance_weight": 1}),
    "lambda_5": ("λ = 5", {"invariance_weight": 5}),
    "alpha_0.2": ("α = 0.2", {"semantic_weight": 0.2}),
    "alpha_3": ("α = 3", {"semantic_weight": 3}),
    "no_semantic_positives": ("α = 0, R = 0", plan.METHODS["no_semantic_positives"].settings),
    "negatives_10": ("M = 10", {"negatives": 10}),
    "negatives_200": ("M = 200", {"negatives": 200}),
    "any_negatives": ("negatives of any class", {"same_class_negatives": True}),
    "other_negatives": ("negatives of other classes", {"same_class_negatives": False}),
    "positives_1": ("R = 1", {"semantic_positives": 1}),
    "positives_10": ("R = 10", {"semantic_positives": 10}),
    "neighbours_3": ("K = 3", {"neighbours": 3}),
    "neighbours_10": ("K = 10", {"neighbours": 10}),
    "vote_share_0": ("any vote share", {"min_vote_share": 0}),
    "vote_share_0.75": ("vote share of 0.75", {"min_vote_share": 0.75}),
    "queue_512": ("queue of 512", {"queue_size": 512}),
    "queue_8192": ("queue of 8,192", {"queue_size": 8192}),
    "labelled_16": ("16 labelled images in a batch", {"labelled_batch_size": 16}),
    "labelled_128": ("128 labelled images in a batch", {"labelled_batch_size": 128}),
    "temperature_0.1": ("τ = 0.1", {"temperature": 0.1}),
    "temperature_0.5": ("τ = 0.5", {"temperature": 0.5}),
}
"""Title of each variant, and its settings that differ from the preset's, by name."""


_VARIANTS = flags.DEFINE_multi_enum(
    "variants", list(VARIANTS), list(VARIANTS), "Variant to train; repeat the flag for several. By default all."
)


def train(name: str, seed: int, arguments: list[str], root: pathlib.Path) -> dict[str, Any]:
    """Trains and evaluates a variant, unless that is done; returns its log.

    Raises:
        RuntimeError: If the training fails; the message names its output.
    """
    workdir = root / f"{name}-{seed}"
    changes = [f"--{key}={value}" for key, value in VARIANTS[name][1].items()]
    command = [sys.executable, "-m", "semppl.trainers.pretrain", *arguments, *changes]
    command += [f"--seed={seed}", f"--label_seed={seed}", f"--workdir={workdir}"]
    if not (workdir / "done.json").is_file():
        root.mkdir(parents=True, exist_ok=True)
        output = root / f"{name}-{seed}.log"
        with output.open("w", encoding="utf-8") as file:
            one_core = os.environ | {"TF_NUM_INTRAOP_THREADS": "1"}
            code = subprocess.run(command, check=False, stdout=file, stderr=file, env=one_core).returncode
        if code:
            raise RuntimeError(f"training failed with exit code {code}; its output: {output}")
    if not (workdir / "metrics.json").is_file():
        evaluate(workdir, evaluators=EVALUATORS)
    return log_of(workdir)


def row(title: str, log: Mapping[str, Any]) -> str:
    """Writes a row of the table: accuracies by each classifier, and accuracy and coverage of the last pseudo-labels."""
    accuracy, last = log["accuracy"]["projections"], log["curve"][-1]
    cells = [accuracy[evaluator] for evaluator in EVALUATORS]
    cells += [last.get(column, 0.0) for column in ("pseudo_label_accuracy", "pseudo_label_coverage")]
    return f"| {title} | {' | '.join(f'{cell:.3f}' for cell in cells)} |"


def main(argv: list[str]) -> None:
    """Prints a Markdown table, a row as soon as its run and those before it are evaluated."""
    del argv
    root = pathlib.Path(flags.FLAGS.workdir)
    arguments = as_arguments(pretrain.hyperparameters_from_flags())
    print("| | nearest labelled image | logistic regression | label spreading | pseudo-label accuracy | coverage |")
    print("|---|---|---|---|---|---|", flush=True)
    with concurrent.futures.ThreadPoolExecutor(_JOBS.value) as pool:
        cells = [(name, int(seed)) for seed in _SEEDS.value for name in _VARIANTS.value]
        runs = [pool.submit(train, name, seed, arguments, root) for name, seed in cells]
        results = []
        for (name, seed), run in zip(cells, runs, strict=True):
            try:
                log = run.result()
            except RuntimeError as error:
                print(f"{name}, seed {seed}: {error}", file=sys.stderr, flush=True)
                continue
            print(row(f"{VARIANTS[name][0]}, seed {seed}", log), flush=True)
            results.append({"variant": name, **{key: log[key] for key in ("seed", "steps", "accuracy", "curve")}})
            if _OUT.value:
                pathlib.Path(_OUT.value).write_text(json.dumps(results) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
