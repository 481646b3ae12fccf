"""Trains on digits with one label per class, compares with two baselines, exports, embeds a picture: in minutes.

python -m semppl.experiments.quickstart --workdir=outputs/quickstart
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import flags

from semppl import configs
from semppl.configs.wording import counted
from semppl.programs import quiet, run_flags
from semppl.programs.process.children import Children

flags.adopt_module_key_flags(run_flags)

_SEEDS = flags.DEFINE_list(
    "seeds", ["0"], "Comma-separated seeds of the label draw and of the training; the table shows means over seeds."
)

quiet.parse_flags(__name__)

import tensorflow as tf

from semppl.data.sources import load_source
from semppl.evaluation.evaluate import evaluate
from semppl.experiments import embedding_map
from semppl.export.export_model import export
from semppl.runs.files import write_atomically

PRESET = pathlib.Path(configs.__file__).parent / "digits.flags"

METHODS: dict[str, list[str]] = {
    "semppl": [],
    "no_semantic_positives": ["--semantic_weight=0", "--semantic_positives=0"],
    "supervised": ["--method=supervised", "--labelled_batch_size=0"],
}
"""Differences from the preset, longest training first; encoder, batch, views, steps and optimiser are the preset's."""

SIDE_BY_SIDE = 2
"""Trainings at a time: two processes of one thread use two cores better than one process of two threads."""

_GRACE = 60.0
"""Seconds that a training has to save when the quickstart is stopped."""

_TITLES = {
    "raw_pixels": "raw pixels, nearest labelled image",
    "supervised": "same encoder, trained on the labels alone",
    "no_semantic_positives": "same loop without semantic positives (α = 0)",
    "semppl": "SemPPL",
}

_EMBED_A_PICTURE = """
import sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
picture = tf.io.read_file(sys.argv[2])
embedding = model.signatures["embed_bytes"](bytes=[picture])["embedding"]
assert not any(name.split(".")[0] == "semppl" for name in sys.modules)
print(" ".join(f"{value:.6f}" for value in embedding[0].numpy()))
"""


@dataclasses.dataclass(frozen=True)
class Training:
    """One run of the comparison.

    Attributes:
        method: Key of METHODS.
        seed: Seed of the label draw and of the training.
        folder: Folder of the run.
    """

    method: str
    seed: int
    folder: pathlib.Path

    @property
    def title(self) -> str:
        """Name of the training in progress lines."""
        return f"{_TITLES[self.method]}, seed {self.seed}"

    @property
    def log(self) -> pathlib.Path:
        """Path of the file for the training's output."""
        return self.folder.with_suffix(".log")


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
    trainings = [Training(method, seed, workdir / f"{method}-{seed}") for seed in seeds for method in METHODS]
    accuracies: dict[str, list[float]] = {name: [] for name in _TITLES}

    used: list[tuple[pathlib.Path, list[float]]] = []

    def judge(training: Training) -> None:
        metrics = evaluate(training.folder, evaluators=["nearest_neighbours"])["accuracy"]
        accuracies[training.method].append(headline(metrics))
        if training.method == "semppl":
            accuracies["raw_pixels"].append(metrics["raw_pixels"]["nearest_neighbours"])
        if training is trainings[0]:  # while the others train
            used.append(_use(training.folder, workdir))

    _train_side_by_side(trainings, judge)
    ((picture_map, embedding),) = used
    summary = {name: statistics.mean(values) for name, values in accuracies.items()}
    summary["seconds"] = round(time.monotonic() - start, 1)
    spread = {"seeds": seeds, "per_seed": accuracies}
    write_atomically(workdir / "summary.json", json.dumps({**summary, **spread}, indent=2) + "\n")
    _print_table(accuracies)
    _print_results(workdir, embedding, picture_map, summary["seconds"])
    return summary


def headline(metrics: dict[str, dict[str, float]]) -> float:
    """Returns a run's accuracy: of its classifier if it has one, else of the nearest labelled image by projections."""
    return metrics["classifier"]["own"] if "classifier" in metrics else metrics["projections"]["nearest_neighbours"]


def _train_side_by_side(trainings: Sequence[Training], judge: Callable[[Training], None]) -> None:
    """Trains SIDE_BY_SIDE runs at a time and passes each to `judge`, in order; the first shows its progress."""
    first, *others = trainings
    print(f"• {first.title}; beside it, with logs in {first.folder.parent}, the other {len(others)}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool, Children(grace=_GRACE) as children:
        futures = [pool.submit(_train, training, children, shown=training is first) for training in trainings]
        try:
            for training, future in zip(trainings, futures, strict=True):
                if not future.done() and training is not first:
                    print(f"• waiting for: {training.title}", flush=True)
                future.result()
                judge(training)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _train(training: Training, children: Children, *, shown: bool) -> None:
    """Trains in a process with its share of the cores; output goes to the terminal if `shown`, else to the log."""
    command = [
        *(sys.executable, "-m", "semppl.trainers.pretrain", f"--flagfile={PRESET}", *METHODS[training.method]),
        *(f"--seed={training.seed}", f"--label_seed={training.seed}", f"--workdir={training.folder}"),
    ]
    threads = str(max(1, (os.cpu_count() or 1) // SIDE_BY_SIDE))
    share = {"TF_NUM_INTRAOP_THREADS": threads, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    with contextlib.ExitStack() as log:
        output = None if shown else log.enter_context(training.log.open("w", encoding="utf-8"))
        code = children.start(command, stdout=output, stderr=output, env=os.environ | share).wait()
    if code and not shown:
        print(training.log.read_text(encoding="utf-8"), file=sys.stderr, flush=True)
    if code:
        raise subprocess.CalledProcessError(code, command)


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
    for name, values in accuracies.items():
        spread = f"  ({min(values):.3f}–{max(values):.3f})" if count > 1 else ""
        print(f"  {_TITLES[name]:<46} {statistics.mean(values):.3f}{spread}")


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
        quickstart(pathlib.Path(run_flags.WORKDIR.value), [int(seed) for seed in _SEEDS.value])
    except subprocess.CalledProcessError as error:
        program = " ".join(error.cmd[1:4])
        print(f"error: {program} … ended with exit code {error.returncode}; see above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    quiet.run(main)
