"""Runs with random weights on a few digits, written in a moment: what an export reads."""

import pathlib
from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.embedding_queue import EmbeddingQueue
from semppl.layers.networks import OnlineNetwork
from semppl.tests import tiny


def write_run(workdir: pathlib.Path, *, queue: bool = True, **changes: Any) -> tuple[Hyperparameters, OnlineNetwork]:
    """Writes a run's settings and a checkpoint at step 7; `queue` as if it had been trained with labels here."""
    settings = Hyperparameters(**tiny.settings(**changes))
    tf.keras.utils.set_random_seed(settings.seed)
    online = OnlineNetwork(**settings.network, name="online")
    online.build([None, settings.large_size, settings.large_size, settings.channels])
    parts = {"online": online}
    if queue:
        parts["queue"] = EmbeddingQueue(settings.large_views, settings.capacity, settings.embedding_width)
    checkpoint = tf.train.Checkpoint(model=tf.train.Checkpoint(**parts))
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "hyperparameters.json").write_text(settings.to_json())
    manager = tf.train.CheckpointManager(
        checkpoint, str(workdir / "checkpoints"), max_to_keep=1, checkpoint_name="step"
    )
    manager.save(checkpoint_number=7)
    return settings, online
