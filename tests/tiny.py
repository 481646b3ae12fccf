"""A tiny setting of the method, and random batches for it: a whole step in a fraction of a second.

Imports nothing of ours: `Hyperparameters(**tiny.settings(…))` is the test's own line.
"""

from typing import Any

import numpy as np
import tensorflow as tf

NO_LABEL = -1
NUM_CLASSES = 3
Batch = dict[str, Any]


def settings(**changes: Any) -> dict[str, Any]:
    """Returns resolved hyper-parameters by name: a batch of 16 with 4 labelled, and queues that wrap in the third step."""
    tiny = {
        "labels_per_class": 2,
        "recipe": "identity",
        "large_views": 2,
        "small_views": 1,
        "large_size": 8,
        "small_size": 8,
        "encoder": "convnet",
        "width": 0.125,
        "head_width": 16,
        "embedding_width": 8,
        "pixel_mean": (0.5,),
        "pixel_stddev": (0.25,),
        "negatives": 4,
        "queue_size": 10,
        "batch_size": 16,
        "labelled_batch_size": 4,
        "steps": 20,
        "warmup_steps": 0,
        "learning_rate": 16.0,  # a peak of 1: with the trust coefficient below, a kernel moves by a fiftieth a step
        "trust_coefficient": 0.02,
        "seed": 3,
    }
    return tiny | changes


def batch(number: int, settings: dict[str, Any]) -> Batch:
    """Makes the global batch of a step: labelled rows first, one labelled image twice, groups that never come in order.

    Returns:
        large `[L, N, H, W, C]` and small `[S, N, h, w, C]` in 0..1, labels, truth and groups `[N]`.
    """
    rng = np.random.default_rng(100 + number)
    size, num_labelled = settings["batch_size"], settings["labelled_batch_size"]
    truth = rng.integers(0, NUM_CLASSES, size).astype(np.int32)
    groups = rng.permutation(np.arange(1000, 1000 + 3 * size))[:size].astype(np.int64)
    if num_labelled > 1:
        groups[0], truth[0] = groups[num_labelled - 1], truth[num_labelled - 1]
    patterns = np.random.default_rng(7).uniform(0, 1, (NUM_CLASSES, 64, 64, len(settings["pixel_mean"])))

    def views(count: int, side: int) -> np.ndarray:
        noise = rng.uniform(0, 1, (count, size, side, side, patterns.shape[-1]))
        return (0.5 * noise + 0.5 * patterns[truth, :side, :side]).astype(np.float32)

    return {
        "large": views(settings["large_views"], settings["large_size"]),
        "small": views(settings["small_views"], settings["small_size"]),
        "labels": np.where(np.arange(size) < num_labelled, truth, NO_LABEL).astype(np.int32),
        "truth": truth,
        "groups": groups,
    }


def share(batch: Batch, replica: int, replicas: int, num_labelled: int) -> Batch:
    """Takes one replica's rows out of a global batch: its part of the labelled rows, then its part of the others."""
    labelled = np.split(np.arange(num_labelled), replicas)[replica]
    unlabelled = np.split(np.arange(num_labelled, len(batch["labels"])), replicas)[replica]
    rows = np.concatenate([labelled, unlabelled])
    return {name: value[:, rows] if name in ("large", "small") else value[rows] for name, value in batch.items()}


def distribute(batch: Batch, strategy: tf.distribute.Strategy, num_labelled: int) -> Batch:
    """Hands every replica its share."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return {name: tf.constant(value) for name, value in batch.items()}
    shares = [share(batch, replica, replicas, num_labelled) for replica in range(replicas)]
    return {
        name: strategy.experimental_distribute_values_from_function(
            lambda context, name=name: tf.constant(shares[context.replica_id_in_sync_group][name])
        )
        for name in batch
    }
