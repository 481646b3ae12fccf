"""Measures SimCLR's training step with our layers, losses and optimiser, against the network's forward and backward alone.

    python -m semppl.benchmarks.peer_step --torch_python=.venv-torch/bin/python

ResNet-18 with the CIFAR stem, two views of 32×32, in-batch negatives, no target network, LARS; no XLA. The bare network does the
forward and backward of the same views and nothing else. With --torch_python, lightly takes its own step of SimCLR in a process
beside. All are timed in turns, one at a time; medians.
"""

import subprocess
from collections.abc import Callable
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import tensorflow as tf
from absl import app, flags

from semppl.benchmarks import lightly_step
from semppl.benchmarks.step_share import ROUNDS, medians
from semppl.layers.blocks.precision import PRECISIONS, computing_in
from semppl.layers.networks import TargetNetwork
from semppl.losses.info_nce import cross_entropy_of_positives
from semppl.losses.two_level_softmax import two_level_softmax
from semppl.programs import run_flags
from semppl.trainers.optimisers.registry import make_optimiser

BATCH_SIZE = flags.DEFINE_integer("images", 64, "Batch size; each image has two views.", lower_bound=2)
ENCODER = flags.DEFINE_string("network", "resnet18_cifar", "Name of the encoder.")

TORCH_PYTHON = flags.DEFINE_string(
    "torch_python", "", "Python interpreter with torch and lightly; empty: lightly is not measured."
)

_SIZE = 32
_HOW_TO = (
    "python3.11 -m venv .venv-torch && .venv-torch/bin/pip install "
    f"{' '.join(f'{name}=={version}' for name, version in lightly_step.PINS.items())}"
)
_NETWORK: dict[str, Any] = {
    "width": 1.0,
    "norm": "batch",
    "head_width": 512,
    "embedding_width": 128,
    "pixel_mean": (0.49, 0.48, 0.45),
    "pixel_stddev": (0.25, 0.24, 0.26),
}


def nt_xent(embeddings: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """Scores each view's other view against all other images' views, in nats.

    Args:
        embeddings: `[2, B, D]` unit-norm, two views of each image.
        temperature: Divisor of every similarity; positive.

    Returns:
        `[2·B]`, unreduced.

    Reference: Chen et al. 2020, arXiv 2002.05709, eq. 1.
    """
    batch_size = embeddings.shape[1]
    flat = tf.reshape(embeddings, [2 * batch_size, -1])
    similarities = tf.matmul(flat, flat, transpose_b=True)  # [2B,2B]
    views = np.arange(2 * batch_size)
    others = [[other for other in views if other % batch_size != view % batch_size] for view in views]
    positives = tf.gather(similarities, (views + batch_size)[:, np.newaxis] % (2 * batch_size), batch_dims=1)
    negatives = tf.gather(similarities, np.array(others), batch_dims=1)  # [2B,2B-2]
    softmax = two_level_softmax(positives / temperature, negatives / temperature)
    return cross_entropy_of_positives(softmax)[:, 0]


def steps(encoder: str, batch_size: int, precision: str) -> dict[str, Callable[[], object]]:
    """Returns a step of SimCLR with our parts, and the bare network's forward and backward on the same views."""
    tf.keras.utils.set_random_seed(0)
    with computing_in(precision):
        ours = TargetNetwork(encoder=encoder, **_NETWORK)
        bare = TargetNetwork(encoder=encoder, **_NETWORK).encoder
        ours.build([None, _SIZE, _SIZE, 3])
    views = tf.random.stateless_uniform([2, batch_size, _SIZE, _SIZE, 3], seed=[0, 0])
    bare(views[0])
    optimiser = make_optimiser("lars", learning_rate_schedule=0.1, weight_decay=1e-6)
    optimiser.build(ours.trainable_variables)

    def simclr() -> tf.Tensor:
        with tf.GradientTape() as tape:
            embeddings = tf.stack([ours(view, training=True) for view in tf.unstack(views)])  # [2,B,D]
            loss = tf.reduce_mean(nt_xent(embeddings, temperature=0.2))
        gradients = tape.gradient(loss, ours.trainable_variables)
        optimiser.apply_gradients(zip(gradients, ours.trainable_variables, strict=True))
        return loss

    def forward_and_backward() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            features = tf.stack([bare(view, training=True) for view in tf.unstack(views)])
        gradients: list[tf.Tensor] = tape.gradient(features, bare.trainable_variables)
        return gradients

    return {"ours": tf.function(simclr), "bare": tf.function(forward_and_backward)}


class Peer:
    """lightly's step, in a process of its own that waits between steps.

    Args:
        python: Interpreter with torch and lightly.
        method: Name of the method; one of `lightly_step.METHODS`.
        encoder: Name of our encoder; lightly's has the same depth.
        batch_size: Images per step.
        precision: float32 or bfloat16.

    Raises:
        ValueError: if the process does not start.
    """

    def __init__(self, python: str, method: str, encoder: str, batch_size: int, precision: str) -> None:
        command = [python, lightly_step.__file__, method, encoder.removesuffix("_cifar"), str(batch_size), precision]
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._answer("")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--torch_python must be the Python of an environment with torch and lightly. Received: {python}. "
                f"To make one: {_HOW_TO}"
            ) from error

    def __call__(self) -> str:
        """Takes a step; returns the seconds that the process measured."""
        return self._answer("step\n")

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()

    def _answer(self, request: str) -> str:
        if self.process.stdin is None or self.process.stdout is None:
            raise ValueError("The process must have been started with pipes. Received: none")
        self.process.stdin.write(request)
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise ValueError(f"The process must answer. Received: nothing, exit code {self.process.wait()}")
        return answer


@quiet.program
def main(argv: list[str]) -> int:
    """Prints a Markdown table. Exit code 2: no lightly."""
    del argv
    with_peer = bool(TORCH_PYTHON.value)
    size = f"{ENCODER.value}, {BATCH_SIZE.value} × 2 views"
    columns = [
        size,
        "SimCLR's step, s",
        "bare network, s",
        "ratio",
        *["lightly's step, s", "ours / lightly"] * with_peer,
    ]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    for precision in PRECISIONS:
        timed = steps(ENCODER.value, BATCH_SIZE.value, precision)
        if with_peer:
            timed["lightly"] = Peer(TORCH_PYTHON.value, "simclr", ENCODER.value, BATCH_SIZE.value, precision)
        seconds = medians(timed, ROUNDS.value)
        cells = [
            precision,
            f"{seconds['ours']:.3f}",
            f"{seconds['bare']:.3f}",
            f"{seconds['ours'] / seconds['bare']:.3f}",
        ]
        if with_peer:
            timed["lightly"].close()  # type: ignore[attr-defined]
            cells += [f"{seconds['lightly']:.3f}", f"{seconds['ours'] / seconds['lightly']:.3f}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    run_flags.accept_none()
    app.run(main)
