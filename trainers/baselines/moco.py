"""MoCo v2: a view is contrasted with keys of other images, which a momentum encoder computed in earlier steps."""

import functools
from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.losses.baselines.queue_contrast import queue_contrast
from semppl.trainers.siamese import Batch, Siamese


class MoCo(Siamese):
    """Contrasts each view with a queue of target projections per large view; labels are not used.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: He et al. 2020, arXiv 1911.05722, algorithm 1; version 2, Chen et al. 2020, arXiv 2003.04297.
    """

    settings: tuple[str, ...] = ("temperature", "queue_size", "nested_dims", "target_decay")
    has_predictor = False
    decay_rises = False

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(hyperparameters, num_classes, **kwargs)
        self.key_queue = self.make_queue(hyperparameters.large_views)

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        step = tf.convert_to_tensor(self.optimizer.iterations)  # read before the update
        anchors, backpropagate = self.predict(batch)  # [V,B,D]
        keys = self.project(batch)  # [L,B,D]
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            loss = self.mean(self.contrast(anchors, keys))
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, anchors)))
        self.key_queue.enqueue(self.gather_views(keys))
        decay = self.move_target(step)
        return self.report_step(anchors, loss, gradient_norm=gradient_norm, target_decay=decay)

    def contrast(self, anchors: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image of this replica, `[B]`."""
        queue = tf.convert_to_tensor(self.key_queue.keys)  # [L,Q,D]
        loss = functools.partial(queue_contrast, temperature=self.hyperparameters.temperature)
        return self.over_prefixes(loss, anchors, keys, queue)
