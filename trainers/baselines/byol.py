"""BYOL: the prediction of one view approaches the target projection of another; there are no negatives."""

import tensorflow as tf

from semppl.data.views.making import finish_views
from semppl.losses.cosine_distance import cosine_distance
from semppl.trainers.siamese import Batch, Siamese


class BYOL(Siamese):
    """Predicts the target projections of the large views from every other view; labels are not used.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Grill et al. 2020, arXiv 2006.07733, algorithm 1.
    """

    settings: tuple[str, ...] = ("target_decay",)

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        step = tf.convert_to_tensor(self.optimizer.iterations)  # read before the update
        anchors, backpropagate = self.predict(batch)  # [V,B,D]
        targets = self.project(batch)  # [L,B,D]
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            loss = self.mean(cosine_distance(anchors, targets))
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, anchors)))
        decay = self.move_target(step)
        return self.report_step(anchors, loss, gradient_norm=gradient_norm, target_decay=decay)
