"""Barlow Twins: the embeddings of two views correlate dimension by dimension, and no dimension with another."""

import tensorflow as tf

from semppl.data.views.making import finish_views
from semppl.layers import collectives
from semppl.layers.blocks.precision import at_least_float32
from semppl.losses.baselines.cross_correlation import cross_correlation
from semppl.trainers.siamese import Batch, Siamese


class BarlowTwins(Siamese):
    """Makes the cross-correlation of projections over the global batch the identity; labels are not used.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Zbontar et al. 2021, arXiv 2103.03230, algorithm 1.
    """

    has_target = False
    has_predictor = False

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        anchors, backpropagate = self.predict(batch)  # [V,B,D], not normalised
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            loss = self.correlate(anchors) / collectives.num_replicas()  # equal on all replicas
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, anchors)))
        return self.report_step(anchors, loss, gradient_norm=gradient_norm)

    def correlate(self, anchors: tf.Tensor) -> tf.Tensor:
        """Returns the loss of the global batch, a scalar."""
        weight = self.hyperparameters.barlow_twins_redundancy_weight
        return cross_correlation(self.gather_views(anchors), redundancy_weight=weight)

    def make_anchors(self, projections: tf.Tensor) -> tf.Tensor:
        """Returns projections `[B, D]` as they are, not normalised."""
        return at_least_float32(projections)
