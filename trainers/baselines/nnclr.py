"""NNCLR: the nearest neighbour of one view among earlier images attracts the prediction of another view."""

import functools
from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.layers.networks import unit_norm
from semppl.losses.baselines.neighbour_contrast import neighbour_contrast
from semppl.trainers.siamese import Batch, Siamese


class NNCLR(Siamese):
    """Contrasts the nearest neighbour of each view with the predictions of the global batch; labels are not used.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Dwibedi et al. 2021, arXiv 2104.14548, algorithm 1.
    """

    settings: tuple[str, ...] = ("temperature", "queue_size", "nested_dims")
    has_target = False

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(hyperparameters, num_classes, **kwargs)
        self.key_queue = self.make_queue(1)

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        anchors, backpropagate = self.predict(batch)  # [V,B,2·D]
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            projections, predictions = tf.split(anchors, 2, axis=-1)  # [V,B,D] each
            loss = self.mean(self.contrast(projections, predictions, batch["groups"]))
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, anchors)))
        self.key_queue.enqueue(self.gather_views(projections[:1]))
        return self.report_step(predictions, loss, gradient_norm=gradient_norm)

    def contrast(self, projections: tf.Tensor, predictions: tf.Tensor, groups: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image of this replica, `[B]`; neighbours are those of whole projections."""
        loss = functools.partial(
            neighbour_contrast,
            rows=self.rows,
            same=self.match_images(groups),
            temperature=self.hyperparameters.temperature,
        )
        return self.over_prefixes(loss, self.key_queue.nearest(projections), self.gather_views(predictions))

    def make_anchors(self, projections: tf.Tensor) -> tf.Tensor:
        """Returns the unit-norm projections, then predictions, of projections `[B, D]`: `[B, 2·D]`."""
        predictions = self.online.predictor(projections, training=True)
        return tf.concat([unit_norm(projections), unit_norm(predictions)], axis=-1)
