"""What the method itself costs, beside the networks, as the queue and the batch grow: it should be linear in both.

    python -m semppl.benchmarks.machinery_cost --workdir=unused --batch_sizes=64,256,1024

Gather, enqueue, vote, draws, losses and their gradient, on random embeddings and a full queue, in one graph without XLA; medians.
Sizes whose similarities would not fit into --gigabytes are left out.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags

from semppl.benchmarks.step_share import ROUNDS, machinery, medians
from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.labels import NO_LABEL
from semppl.layers.networks import unit_norm
from semppl.trainers import pretrain, semppl

_QUEUE_SIZES = flags.DEFINE_list("queue_sizes", ["1000", "10000", "100000", "1000000"], "Q, with commas between.")
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["64", "256", "1024", "4096"], "B, with commas between.")
_GIGABYTES = flags.DEFINE_float("gigabytes", 8.0, "Memory for the similarities of a batch to the queues.")

_NUM_CLASSES = 100
_SETTINGS: dict[str, Any] = {
    "encoder": "convnet",
    "width": 0.125,
    "head_width": 16,
    "large_size": 8,
    "small_size": 8,  # never run
    "labels_per_class": 1,
    "steps": 1,
    "warmup_steps": 0,
}


def similarities_in_gigabytes(settings: Hyperparameters) -> float:
    """Returns the memory of the largest tensor, `[L, B, L, Q]`."""
    return 4e-9 * settings.large_views**2 * settings.batch_size * settings.queue_size


def settings_of(queue_size: int, batch_size: int) -> Hyperparameters:
    """Returns those of a step at ImageNet's number of views and width, one image in eight labelled."""
    sizes: dict[str, Any] = {"batch_size": batch_size, "labelled_batch_size": batch_size // 8, "queue_size": queue_size}
    return Hyperparameters(**_SETTINGS, **sizes)


def model_and_inputs(
    settings: Hyperparameters, seed: int = 0
) -> tuple[semppl.SemPPL, tf.Tensor, tf.Tensor, semppl.Batch]:
    """Makes a model whose queue is full, anchors `[V, B, D]`, targets `[L, B, D]`, and the labels and ids of a batch."""
    rng = np.random.default_rng(seed)
    model = pretrain.build_model(settings, _NUM_CLASSES, jit_compile=False)

    def embeddings(*shape: int) -> tf.Tensor:
        return unit_norm(tf.constant(rng.standard_normal((*shape, settings.embedding_width), np.float32)))

    model.queue.embeddings.assign(embeddings(settings.large_views, settings.queue_size))
    model.queue.labels.assign(rng.integers(0, _NUM_CLASSES, settings.queue_size))
    model.queue.ids.assign(rng.integers(0, 10**6, settings.queue_size))
    labels = rng.integers(0, _NUM_CLASSES, settings.batch_size).astype(np.int32)
    labels[settings.labelled_batch_size :] = NO_LABEL
    ids = rng.permutation(10**6)[: settings.batch_size]
    batch = {"labels": tf.constant(labels), "ids": tf.constant(ids, tf.int64)}
    views, batch_size = settings.views, settings.batch_size
    return model, embeddings(views, batch_size), embeddings(settings.large_views, batch_size), batch


def milliseconds(settings: Hyperparameters, rounds: int) -> float:
    """Returns the median time of what the method does in a step."""
    inputs = model_and_inputs(settings)
    return 1e3 * medians({"machinery": tf.function(lambda: machinery(*inputs))}, rounds)["machinery"]


def main(argv: list[str]) -> None:
    """Prints a Markdown table: a row for each Q, a column for each B."""
    del argv
    batch_sizes = [int(size) for size in _BATCH_SIZES.value]
    print(
        "| ms, of which per image and 1,000 entries in µs | "
        + " | ".join(f"B = {size:,}" for size in batch_sizes)
        + " |"
    )
    print("|---|" + "---|" * len(batch_sizes))
    for queue_size in (int(size) for size in _QUEUE_SIZES.value):
        cells = []
        for batch_size in batch_sizes:
            settings = settings_of(queue_size, batch_size)
            if similarities_in_gigabytes(settings) > _GIGABYTES.value:
                cells.append("–")
                continue
            time = milliseconds(settings, ROUNDS.value)
            cells.append(f"{time:.1f} ({1e6 * time / (batch_size * queue_size):.2f})")
        print(f"| Q = {queue_size:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    app.run(main)
