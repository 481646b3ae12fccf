"""How much SimCLR's work costs with our layers, losses and optimiser, beside the bare network's forward and backward.

    python -m semppl.benchmarks.peer_step

ResNet-18 with the CIFAR stem, two views of 32×32, in-batch negatives, no target network, LARS; no XLA. The bare network does the
forward and backward of the same views and nothing else. Both are timed in turns; medians.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags

from semppl.benchmarks.step_share import ROUNDS, medians
from semppl.layers.networks import TargetNetwork
from semppl.layers.precision import PRECISIONS, computing_in
from semppl.losses.contrastive import candidates, info_nce
from semppl.trainers.optimisers import make_optimiser

_BATCH_SIZE = flags.DEFINE_integer("images", 64, "Images in a batch; each has two views.", lower_bound=2)
_ENCODER = flags.DEFINE_string("network", "resnet18_cifar", "Name of the encoder.")

_SIZE = 32
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
        temperature: divides every similarity; positive.

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
    return info_nce(candidates(positives, negatives, temperature=temperature))[:, 0]


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


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    print(
        f"| {_ENCODER.value}, {_BATCH_SIZE.value} × 2 views | SimCLR's step, s | bare network, s | ratio |\n|---|---|---|---|"
    )
    for precision in PRECISIONS:
        seconds = medians(steps(_ENCODER.value, _BATCH_SIZE.value, precision), ROUNDS.value)
        ratio = seconds["ours"] / seconds["bare"]
        print(f"| {precision} | {seconds['ours']:.3f} | {seconds['bare']:.3f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    app.run(main)
