"""Trains on digits with one label per class, compares with two baselines, exports, embeds a picture: in minutes.

python -m semppl.experiments.quickstart --workdir=outputs/quickstart
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
from absl import flags

from semppl import configs
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.experiments.comparison import plan
from semppl.programs import presets, quiet, run_flags
from semppl.programs.experiments import seeds_flag

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(seeds_flag)

quiet.parse_flags(__name__, check=lambda: seeds_flag.seeds_from_flag(default=1))

import tensorflow as tf

# isort: split
from semppl.data.sources import load_source
from semppl.evaluation.evaluate import evaluate
from semppl.experiments import embedding_map
from semppl.experiments.comparison import preparation, results, trainings
from semppl.export.export_model import export
from semppl.runs.files import write_atomically

PRESET = pathlib.Path(configs.__file__).parent / "digits.flags"

METHODS = ("semppl", "no_semantic_positives", "supervised")
"""Methods that are compared, longest training first; encoder, batch, views, steps and optimiser are the preset's."""

_TITLES = {"raw_pixels": "raw pixels, nearest labelled image"} | {m: plan.METHODS[m].title for m in reversed(METHODS)}

_EMBED_A_PICTURE = """
import sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
picture = tf.io.read_file(sys.argv[2])
embedding = model.signatures["embed_bytes"](bytes=[picture])["embedding"]
assert not any(name.split(".")[0] == "semppl" for name in sys.modules)
print(" ".join(f"{value:.6f}" for value in embedding[0].numpy()))
"""


def quickstart(workdir: pathlib.Path, seeds: Sequence[int]) -> dict[str, float]:
    """Trains, compares, exports and draws; finished runs in `workdir` are not trained again.

    Args:
        workdir: Folder of all runs.
        seeds: Seeds of the label draws and of the trainings.

    Returns:
        Accuracies in 0..1, means over seeds, and the duration in seconds.

    Raises:
        subprocess.CalledProcessError: if a training fails; its log is on stderr.
    """
    start = time.monotonic()
    workdir.mkdir(parents=True, exist_ok=True)
    runs = _plan(workdir, seeds)
    first, *others = runs
    judged: dict[plan.Training, dict[str, float]] = {}
    used: list[tuple[pathlib.Path, list[float]]] = []

    def ended(run: plan.Training, seconds: float = 0.0, code: int = 0) -> None:
        if code:
            trainings.print_log(run, shown=run is first)
            raise subprocess.CalledProcessError(code, [*trainings.PROGRAM, f"--workdir={run.folder}"])
        metrics = evaluate(run.folder, evaluators=["nearest_neighbours"])["accuracy"]
        judged[run] = {run.method: headline(metrics), "raw_pixels": metrics["raw_pixels"]["nearest_neighbours"]}
        if run is first:  # while the others train
            used.append(_use(run.folder, workdir))
        waiting = [other for other in runs if other not in judged]
        if waiting and first in judged:
            print(f"• waiting for: {waiting[0].title}", flush=True)

    print(f"• {first.title}; beside it, with logs in {workdir}, the other {len(others)}", flush=True)
    trainings.train_side_by_side(runs, ended, shown=first)
    ((picture_map, embedding),) = used
    accuracies = {
        name: [judged[run][name] for run in runs if run.method == (name if name in METHODS else METHODS[0])]
        for name in _TITLES
    }
    summary = {name: statistics.mean(values) for name, values in accuracies.items()}
    summary["seconds"] = round(time.monotonic() - start, 1)
    spread = {"seeds": seeds, "per_seed": accuracies}
    write_atomically(workdir / "summary.json", json.dumps({**summary, **spread}, indent=2) + "\n")
    _print_table(accuracies)
    _print_results(workdir, embedding, picture_map, summary["seconds"])
    return summary


def _plan(workdir: pathlib.Path, seeds: Sequence[int]) -> list[plan.Training]:
    (values,) = presets.settings_by_name(PRESET, {}, Hyperparameters)
    planned = plan.plan(Hyperparameters(**values), workdir, methods=METHODS, seeds=seeds)
    return list(preparation.prepare(planned).runs)


def headline(metrics: dict[str, dict[str, float]]) -> float:
    """Returns a run's accuracy: of its classifier if it has one, else of the nearest labelled image by projections."""
    return metrics["classifier"]["own"] if "classifier" in metrics else metrics["projections"]["nearest_neighbours"]


def _use(run: pathlib.Path, workdir: pathlib.Path) -> tuple[pathlib.Path, list[float]]:
    """Draws the map of a run's test images, exports the run and embeds a picture with the export.

    Returns:
        Path of the map, and the embedding of one test picture.
    """
    print("• map of the test digits, export, embedding of a picture", flush=True)
    picture_map = workdir / "embeddings.png"
    embedding_map.draw(*embedding_map.embed_test_images(run), picture_map)
    served = workdir / "served" / "1"
    shutil.rmtree(served, ignore_errors=True)
    export(run, served)
    return picture_map, _embed_a_picture(served, workdir / "picture.png")


def _embed_a_picture(served: pathlib.Path, picture: pathlib.Path) -> list[float]:
    """Writes a test digit to `picture`, and embeds it in a process that imports TensorFlow and nothing of this project."""
    (first,) = next(load_source("digits").held_out("test").batches(np.asarray, batch_size=1))
    picture.write_bytes(tf.io.encode_png(np.round(first * 255).astype(np.uint8)).numpy())
    command = [sys.executable, "-c", _EMBED_A_PICTURE, str(served.resolve()), str(picture.resolve())]
    done = subprocess.run(command, cwd=picture.parent, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr, flush=True)
        raise subprocess.CalledProcessError(done.returncode, command)
    return [float(value) for value in done.stdout.split()]  # on stderr, TensorFlow 2.21 logs the machine's instructions


def _print_table(accuracies: dict[str, list[float]]) -> None:
    count = len(accuracies["semppl"])
    print(f"\nAccuracy on 297 test digits from 10 labels, one per class ({counted(count, 'seed')}):\n")
    print(
        "\n".join(results.table_lines([(_TITLES[name], [results.cell(values)]) for name, values in accuracies.items()]))
    )


def _print_results(workdir: pathlib.Path, embedding: list[float], picture_map: pathlib.Path, seconds: float) -> None:
    numbers = " ".join(f"{value:.3f}" for value in embedding[:4])
    print(f"\n  map of the embeddings, before and after training   {picture_map}")
    print(f"  exported model                                     {workdir / 'served'}")
    print(f"  its embedding of {workdir / 'picture.png'}: {len(embedding)} numbers, {numbers} …")
    print(f"  figures                                            {workdir / 'summary.json'}   ({seconds:.0f} s)")
    print(f"  training curves                                    tensorboard --logdir {workdir}\n")
    print(
        "Next, your own pictures (labels.csv: a line `path,label` for each picture whose label you know; TEST_PICTURES has"
    )
    print("a folder per class):\n")
    print(f"  {os.path.relpath(sys.executable)} -m semppl.trainers.pretrain --preset=own_pictures_cpu \\")
    print("    --data='folder:PICTURES?labels=labels.csv' --test='folder:TEST_PICTURES?labels=folders' \\")
    print("    --cache_dir=cache --workdir=outputs/own")


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    try:
        quickstart(pathlib.Path(run_flags.WORKDIR.value), seeds_flag.seeds_from_flag(default=1))
    except subprocess.CalledProcessError as error:
        program = " ".join(error.cmd[1:4])
        print(f"error: {program} … ended with exit code {error.returncode}; see above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    quiet.run(main)
