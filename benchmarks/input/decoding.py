"""Measures picture files per second turned into 4 views of 224 pixels and 2 of 96, against reading and decoding alone.

    python -m semppl.benchmarks.input.decoding --picture_folder=PICTURES

Both use the input pipeline of training, in turns, from a warm page cache; with --picture_cache, pictures are read decoded and
shrunk from the cache. The progress bar of a run shows its own input wait time. On a busy machine, read the second rate,
per second of processor time.
"""

import os
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags

from semppl.benchmarks.instruments.rates import rates
from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL
from semppl.data.pipeline import Pipeline
from semppl.data.splits import load_splits
from semppl.data.streaming import StreamedImageSet

_FOLDER = flags.DEFINE_string("picture_folder", None, "Folder of JPEG files.")
_CACHE_DIR = flags.DEFINE_string(
    "picture_cache", "", "Cache folder, like --cache_dir of a run; empty: pictures are decoded each time."
)
_SHRINK = flags.DEFINE_integer("picture_shrink", 0, "Shrinking of pictures, like --shrink of a run.")
_BATCH_SIZE = flags.DEFINE_integer("picture_batch", 32, "Batch size.", lower_bound=1)
_BATCHES = flags.DEFINE_integer("picture_batches", 8, "Batches per round.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("picture_rounds", 5, "Rounds per pipeline.", lower_bound=1)
_LONG = 500  # steps: views are compiled, as in any but the shortest runs


def settings(**changes: Any) -> Hyperparameters:
    """Returns hyper-parameters of unlabelled batches with the views of the ImageNet presets."""
    sizes = {"batch_size": 32, "negatives": 1, "steps": _LONG, "warmup_steps": 0}
    return Hyperparameters(label_fraction=1.0, **(sizes | changes))


def views(pictures: StreamedImageSet, hyperparameters: Hyperparameters, batches: int) -> tf.data.Dataset:
    """Returns the batches of a run without labels."""
    labels = np.full(len(pictures), NO_LABEL, np.int32)
    return Pipeline(pictures, labels, hyperparameters).batches(first_step=0).take(batches)


def decoded(pictures: StreamedImageSet, count: int) -> tf.data.Dataset:
    """Returns the sizes of `count` pictures, read and decoded as for a run."""
    ids = tf.data.Dataset.range(len(pictures)).repeat().take(count).map(lambda number: {"positions": number})
    return pictures.map_pictures(ids, lambda row: tf.shape(row["image"])).batch(32).prefetch(2)


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    sizes = {"batch_size": _BATCH_SIZE.value, "shrink": _SHRINK.value, "cache_dir": _CACHE_DIR.value}
    hyperparameters = settings(data=f"folder:{_FOLDER.value or ''}", **sizes)
    try:
        pictures = load_splits(hyperparameters).train
    except (ValueError, OSError) as error:
        raise app.UsageError(str(error)) from error
    if not isinstance(pictures, StreamedImageSet):
        raise app.UsageError(f"--picture_folder must hold pictures. Received: {_FOLDER.value}")
    count = _BATCH_SIZE.value * _BATCHES.value
    datasets = {
        "read and decoded": decoded(pictures, count),
        "six views": views(pictures, hyperparameters, _BATCHES.value),
    }
    print(f"{os.cpu_count()} processors, batch {_BATCH_SIZE.value}, load {os.getloadavg()[0]:.1f} before")
    print("| | images/s | images per processor second |\n|---|---|---|")
    measured = rates(datasets, count, _ROUNDS.value)
    for name, (wall, used) in measured.items():
        print(f"| {name} | {wall:,.1f} | {used:,.1f} |")
    (limit, limit_used), (wall, used) = measured.values()
    print(f"| six views, share of the limit | {wall / limit:.0%} | {used / limit_used:.0%} |")


if __name__ == "__main__":
    app.run(main)
