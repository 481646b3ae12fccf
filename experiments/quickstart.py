"""The whole way in minutes: train on digits with one label per class, compare with honest baselines, export, embed a picture.

python -m semppl.experiments.quickstart --workdir=outputs/quickstart
"""

import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

from semppl.programs import quiet  # before TensorFlow

# isort: split
import numpy as np
import tensorflow as tf
from absl import flags

from semppl import configs
from semppl.data.sources import load_source
from semppl.programs import run_flags
from semppl.runs.files import write_atomically

flags.adopt_module_key_flags(run_flags)

_SEEDS = flags.DEFINE_list(
    "seeds", ["0"], "Seeds, of the labelled images and of everything else; the figures are means."
)

PRESET = pathlib.Path(configs.__file__).parent / "digits.flags"

RUNS: dict[str, list[str]] = {
    "supervised": ["--method=supervised", "--labelled_batch_size=0"],
    "no_semantic_positives": ["--semantic_weight=0", "--semantic_positives=0"],
    "semppl": [],
}
"""What differs from the preset: the same encoder, batch, views, steps and optimiser each time."""

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


def quickstart(workdir: pathlib.Path, seeds: list[int]) -> dict[str, float]:
    """Runs everything; runs that are done already are not run again.

    Args:
        workdir: folder of all runs.
        seeds: of the labelled images and of everything else.

    Returns:
        The summary: accuracies in 0..1, means over seeds, and seconds.

    Raises:
        subprocess.CalledProcessError: if a part fails; its own message is on stderr.
    """
    start = time.monotonic()
    accuracies: dict[str, list[float]] = {name: [] for name in _TITLES}
    for seed in seeds:
        for name, changes in RUNS.items():
            folder = workdir / f"{name}-{seed}"
            _say(f"{_TITLES[name]}, seed {seed}")
            _module(
                "trainers.pretrain",
                f"--flagfile={PRESET}",
                *changes,
                f"--seed={seed}",
                f"--label_seed={seed}",
                f"--workdir={folder}",
            )
            _module("evaluation.evaluate", f"--workdir={folder}")
            metrics = json.loads((folder / "metrics.json").read_text())["accuracy"]
            accuracies[name].append(headline(metrics))
            if name == "semppl":
                accuracies["raw_pixels"].append(metrics["raw_pixels"]["nearest_neighbours"])
    embedding = _export_and_embed(workdir, workdir / f"semppl-{seeds[0]}")
    summary = {name: statistics.mean(values) for name, values in accuracies.items()}
    summary["seconds"] = round(time.monotonic() - start, 1)
    spread = {"seeds": seeds, "per_seed": accuracies}
    write_atomically(workdir / "summary.json", json.dumps({**summary, **spread}, indent=2) + "\n")
    _print_table(accuracies, summary["seconds"], embedding, workdir, seeds[0])
    return summary


def headline(metrics: dict[str, dict[str, float]]) -> float:
    """One figure a run: a classifier's own accuracy where it has one, else that of the nearest labelled image's class."""
    return metrics["classifier"]["own"] if "classifier" in metrics else metrics["projections"]["nearest_neighbours"]


def _export_and_embed(workdir: pathlib.Path, run: pathlib.Path) -> list[float]:
    """Exports a run, and embeds a test picture in a process that knows nothing of this project."""
    _say("export, and embed a picture in a process of its own")
    served = workdir / "served" / "1"
    shutil.rmtree(served, ignore_errors=True)
    _module("export.export_model", f"--workdir={run}", f"--export_dir={served}")
    picture = workdir / "picture.png"
    (first,) = next(load_source("digits").held_out("test").batches(np.asarray, batch_size=1))
    pixels = np.round(first * 255).astype(np.uint8)
    picture.write_bytes(tf.io.encode_png(pixels).numpy())
    command = [sys.executable, "-P", "-c", _EMBED_A_PICTURE, str(served.resolve()), str(picture.resolve())]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [float(value) for value in answer.split()]


def _module(name: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"semppl.{name}", *arguments], check=True)


def _say(what: str) -> None:
    print(f"\n• {what}", flush=True)


def _print_table(
    accuracies: dict[str, list[float]], seconds: float, embedding: list[float], workdir: pathlib.Path, seed: int
) -> None:
    count = len(accuracies["semppl"])
    print(f"\nAccuracy on 297 test digits from 10 labels, one per class ({count} seed{'s' if count > 1 else ''}):\n")
    for name, values in accuracies.items():
        spread = f"  ({min(values):.3f}–{max(values):.3f})" if count > 1 else ""
        print(f"  {_TITLES[name]:<46} {statistics.mean(values):.3f}{spread}")
    print(
        f"\nembedding of {workdir / 'picture.png'}, from {workdir / 'served'}: {len(embedding)} numbers, "
        f"{' '.join(f'{value:.3f}' for value in embedding[:4])} …"
    )
    print(f"figures in {workdir / 'summary.json'}; {seconds:.0f} s\n")
    print("What to try next:")
    print(f"  look inside:        tensorboard --logdir {workdir}")
    print("  what can be set:    python -m semppl.trainers.pretrain --help")
    print(f"  judge a run:        python -m semppl.evaluation.evaluate --workdir={workdir / f'semppl-{seed}'}")
    print('  your own pictures:  README.md, "Your own pictures"')


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    try:
        quickstart(pathlib.Path(run_flags.WORKDIR.value), [int(seed) for seed in _SEEDS.value])
    except subprocess.CalledProcessError as error:
        print(
            f"error: {' '.join(error.cmd[1:4])} … ended with exit code {error.returncode}; see above", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    quiet.run(main)
