"""SwAV: the assignment of one view to prototypes is predicted from another view."""

from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.layers.key_queue import random_directions
from semppl.layers.networks import unit_norm
from semppl.losses.baselines.swapped_prediction import sinkhorn, swapped_prediction
from semppl.trainers.siamese import Batch, Siamese


class SwAV(Siamese):
    """Predicts balanced assignments of the global batch to prototypes from the other views; labels are not used.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Caron et al. 2020, arXiv 2006.09882, algorithm 1.
    """

    settings: tuple[str, ...] = ("temperature",)
    has_target = False
    has_predictor = False

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(hyperparameters, num_classes, **kwargs)
        shape = [hyperparameters.swav_prototypes, hyperparameters.embedding_width]
        self.prototypes = self.add_weight("prototypes", shape, initializer=random_directions)

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        step = tf.convert_to_tensor(self.optimizer.iterations)  # read before the update
        anchors, backpropagate = self.predict(batch)  # [V,B,D]
        prototypes = tf.convert_to_tensor(self.prototypes)  # [K,D]
        with tf.GradientTape() as tape:
            tape.watch([anchors, prototypes])
            scores = tf.einsum("vbd,kd->vbk", anchors, prototypes)
            loss = self.mean(self.predict_codes(scores))
        anchor_gradient, gradient = tape.gradient(loss, [anchors, prototypes])
        frozen = step < self.hyperparameters.swav_frozen_steps
        gradients = [*backpropagate(anchor_gradient), tf.where(frozen, tf.zeros_like(gradient), gradient)]
        gradient_norm = self.descend(gradients)
        self.prototypes.assign(tf.where(frozen, prototypes, unit_norm(self.prototypes)))
        return self.report_step(anchors, loss, gradient_norm=gradient_norm)

    def predict_codes(self, scores: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image of this replica, `[B]`, from scores `[V, B, K]`."""
        settings = self.hyperparameters
        large = self.gather_views(scores[: settings.large_views])  # [L,N,K]
        codes = sinkhorn(large, epsilon=settings.swav_epsilon)
        return swapped_prediction(scores, tf.gather(codes, self.rows, axis=1), temperature=settings.temperature)

    def trained_variables(self) -> list[tf.Variable]:
        """Returns the variables that the optimiser updates: those of the embeddings, then the prototypes."""
        return [*super().trained_variables(), self.prototypes]
