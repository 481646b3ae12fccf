"""Measures a training step of each method beside lightly's of the same name.

    python -m semppl.benchmarks.comparisons.method_steps --torch_python=.venv-torch/bin/python

ResNet-18 with the CIFAR stem, two views of 32×32, LARS, no XLA; projectors and predictors of two layers, queues and prototypes of
the same sizes. lightly's steps are taken in a process beside; both are timed in turns, one at a time; medians.
"""

from collections.abc import Callable
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import tensorflow as tf
from absl import app, flags

from semppl.benchmarks import lightly_step
from semppl.benchmarks.peer_step import BATCH_SIZE, ENCODER, TORCH_PYTHON, Peer
from semppl.benchmarks.step_share import ROUNDS, medians
from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import run_flags
from semppl.trainers import pretrain

_METHODS = flags.DEFINE_list("method_names", list(lightly_step.METHODS), "Comma-separated methods.")
_PRECISION = flags.DEFINE_string("step_precision", "float32", "Precision of the networks: float32 or bfloat16.")

_SIZE = 32


def make_step(method: str, encoder: str, batch_size: int, precision: str) -> Callable[[], object]:
    """Returns a step of one of our methods on two views, as a graph."""
    own: dict[str, dict[str, Any]] = {
        "moco": {"queue_size": lightly_step.ENTRIES},
        "nnclr": {"queue_size": lightly_step.ENTRIES},
        "swav": {"swav_prototypes": lightly_step.PROTOTYPES, "swav_frozen_steps": 0},
    }
    settings = Hyperparameters(
        method=method,
        labels_per_class=1,
        recipe="identity",
        encoder=encoder,
        large_views=2,
        small_views=0,
        large_size=_SIZE,
        head_width=lightly_step.HIDDEN,
        embedding_width=lightly_step.OUTPUT,
        batch_size=batch_size,
        steps=10_000,
        warmup_steps=0,
        precision=precision,
        **own.get(method, {}),
    )
    model = pretrain.build_model(settings, 10, jit_compile=False)
    batch = {
        "large": tf.random.stateless_uniform([2, batch_size, _SIZE, _SIZE, 3], seed=[0, 0]),
        "small": tf.zeros([0, batch_size, _SIZE, _SIZE, 3]),
        "labels": tf.fill([batch_size], -1),
        "truth": tf.fill([batch_size], -1),
        "groups": tf.range(batch_size, dtype=tf.int64),
    }
    step = tf.function(model.train_step, autograph=False)
    return lambda: np.asarray(step(batch)["loss"])


@quiet.program
def main(argv: list[str]) -> int:
    """Prints a Markdown table. Exit code 2: no lightly."""
    del argv
    arguments = (ENCODER.value, BATCH_SIZE.value, _PRECISION.value)
    title = f"{ENCODER.value}, {BATCH_SIZE.value} × 2 views, {_PRECISION.value}"
    print(f"| {title} | ours, s | lightly's, s | ours / lightly |\n|---|---|---|---|", flush=True)
    for method in _METHODS.value:
        peer = Peer(TORCH_PYTHON.value, method, *arguments)
        seconds = medians({"ours": make_step(method, *arguments), "lightly": peer}, ROUNDS.value)
        peer.close()
        ratio = seconds["ours"] / seconds["lightly"]
        print(f"| {method} | {seconds['ours']:.3f} | {seconds['lightly']:.3f} | {ratio:.3f} |", flush=True)
    return 0


if __name__ == "__main__":
    run_flags.accept_none()
    app.run(main)
