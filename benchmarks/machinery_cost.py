"""Measures the cost of the method beyond the networks as queue and batch grow; it should be linear in both.

    python -m semppl.benchmarks.machinery_cost --batch_sizes=64,256,1024
    python -m semppl.benchmarks.machinery_cost --jax_python=.venv-tpu/bin/python --topologies=v5e:2x2

Gather, enqueue, vote, draws, losses and their gradient, on random embeddings and a full queue, in one graph. Timed on this
machine, without XLA, medians; or, with --jax_python, counted by a TPU's compiler, for one of --replicas that share the batch.
Sizes whose similarities would not fit into --gigabytes are left out.
"""

from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import tensorflow as tf
from absl import app, flags

from semppl.benchmarks.instruments import hlo
from semppl.benchmarks.step_share import ROUNDS, machinery, medians
from semppl.benchmarks.tpu_compile import JAX_PYTHON, REPLICAS, TOPOLOGIES
from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.labels import NO_LABEL
from semppl.layers.networks import unit_norm
from semppl.programs import run_flags
from semppl.trainers import pretrain, semppl

_QUEUE_SIZES = flags.DEFINE_list(
    "queue_sizes", ["1000", "10000", "100000", "1000000"], "Queue capacities Q, comma-separated."
)
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["64", "256", "1024", "4096"], "Global batch sizes N, comma-separated.")
_GIGABYTES = flags.DEFINE_float("gigabytes", 8.0, "Memory for the similarities of a replica's images to one queue.")
_AVERAGED = flags.DEFINE_string("averaged", "", "Encoder whose moving average is included; empty: none.")

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


def similarities_in_gigabytes(settings: Hyperparameters, replicas: int = 1) -> float:
    """Returns the memory of the largest tensor, `[L, B, Q]`."""
    return 4e-9 * settings.large_views * (settings.batch_size // replicas) * settings.queue_size


def settings_of(queue_size: int, batch_size: int, averaged: str = "") -> Hyperparameters:
    """Returns hyper-parameters with the views and widths of the ImageNet presets, one image in eight labelled.

    Args:
        queue_size: Capacity Q of each queue.
        batch_size: Global batch size N.
        averaged: Encoder whose moving average is included; empty: networks of negligible size.
    """
    sizes: dict[str, Any] = {"batch_size": batch_size, "labelled_batch_size": batch_size // 8, "queue_size": queue_size}
    networks = {"encoder": averaged, "width": 1.0, "head_width": 4096} if averaged else {}
    return Hyperparameters(**{**_SETTINGS, **networks, **sizes})


def model_and_inputs(
    settings: Hyperparameters, seed: int = 0
) -> tuple[semppl.SemPPL, tf.Tensor, tf.Tensor, semppl.Batch]:
    """Makes a model whose queue is full, anchors `[V, B, D]`, targets `[L, B, D]`, and the labels and groups of a batch."""
    rng = np.random.default_rng(seed)
    model = pretrain.build_model(settings, _NUM_CLASSES, jit_compile=False)

    def embeddings(*shape: int) -> tf.Tensor:
        return unit_norm(tf.constant(rng.standard_normal((*shape, settings.embedding_width), np.float32)))

    model.queue.embeddings.assign(embeddings(settings.large_views, settings.queue_size))
    model.queue.labels.assign(rng.integers(0, _NUM_CLASSES, settings.queue_size))
    model.queue.groups.assign(rng.integers(0, 10**6, settings.queue_size))
    labels = rng.integers(0, _NUM_CLASSES, settings.batch_size).astype(np.int32)
    labels[settings.labelled_batch_size :] = NO_LABEL
    groups = rng.permutation(10**6)[: settings.batch_size]
    batch = {"labels": tf.constant(labels), "groups": tf.constant(groups, tf.int64)}
    views, batch_size = settings.num_views, settings.batch_size
    return model, embeddings(views, batch_size), embeddings(settings.large_views, batch_size), batch


def program(settings: Hyperparameters, replicas: int) -> hlo.hlo_pb2.HloModuleProto:
    """Lowers the method's part of a step of one of several replicas, with the moving average if its networks are of real size."""
    rows, width = settings.batch_size // replicas, settings.embedding_width
    with hlo.one_of(replicas):
        model = pretrain.build_model(settings, _NUM_CLASSES, jit_compile=True)

        def step(anchors: tf.Tensor, targets: tf.Tensor, labels: tf.Tensor, groups: tf.Tensor) -> tf.Tensor:
            gradient = machinery(model, anchors, targets, {"labels": labels, "groups": groups})
            if settings.encoder != _SETTINGS["encoder"]:
                model.move_target(tf.convert_to_tensor(model.optimizer.iterations))
            return gradient

        return hlo.lower(
            step,
            tf.TensorSpec([settings.num_views, rows, width]),
            tf.TensorSpec([settings.large_views, rows, width]),
            tf.TensorSpec([rows], tf.int32),
            tf.TensorSpec([rows], tf.int64),
        )


def milliseconds(settings: Hyperparameters, rounds: int) -> float:
    """Returns the median milliseconds of the method's part of a step."""
    inputs = model_and_inputs(settings)
    return 1e3 * medians({"machinery": tf.function(lambda: machinery(*inputs))}, rounds)["machinery"]


def _cell(settings: Hyperparameters) -> str:
    """Formats the measurement of one size: milliseconds, or a TPU compiler's counts."""
    if similarities_in_gigabytes(settings, REPLICAS.value) > _GIGABYTES.value:
        return "–"
    if not JAX_PYTHON.value:
        time = milliseconds(settings, ROUNDS.value)
        return f"{time:.1f} ({1e6 * time / (settings.batch_size * settings.queue_size):.2f})"
    (cost,) = hlo.compile_ahead(program(settings, REPLICAS.value), TOPOLOGIES.value[:1], JAX_PYTHON.value)
    return f"{cost.flops / 1e9:.2f} · {cost.accessed / 1e9:.2f} · {cost.temporaries / 2**30:.2f}"


@quiet.program
def main(argv: list[str]) -> int:
    """Prints a Markdown table: a row for each Q, a column for each N. Exit code 2: not compiled."""
    del argv
    if JAX_PYTHON.value:
        hlo.check_compiler(JAX_PYTHON.value)
    counted = (
        "GFLOP · GB accessed · GiB of temporaries"
        if JAX_PYTHON.value
        else "ms, of which per image and 1,000 entries in µs"
    )
    batch_sizes = [int(size) for size in _BATCH_SIZES.value]
    print(f"| {counted} | " + " | ".join(f"N = {size:,}" for size in batch_sizes) + " |")
    print("|---|" + "---|" * len(batch_sizes))
    for queue_size in (int(size) for size in _QUEUE_SIZES.value):
        cells = [_cell(settings_of(queue_size, batch_size, _AVERAGED.value)) for batch_size in batch_sizes]
        print(f"| Q = {queue_size:,} | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    run_flags.accept_none()
    app.run(main)
