"""SimCLR: two views of an image attract each other, views of other images in the batch repel."""

import functools

import tensorflow as tf

from semppl.data.views.making import finish_views
from semppl.losses.nt_xent import nt_xent
from semppl.trainers.siamese import Batch, Siamese


class SimCLR(Siamese):
    """Contrasts each view with all views of the other images of the global batch; labels are not used.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Chen et al. 2020, arXiv 2002.05709, algorithm 1; debiased, Chuang et al. 2020, arXiv 2007.00224.
    """

    settings: tuple[str, ...] = ("temperature", "nested_dims")
    has_target = False
    has_predictor = False

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        anchors, backpropagate = self.predict(batch)  # [V,B,D]
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            loss = self.mean(self.contrast(anchors, batch["groups"]))
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, anchors)))
        return self.report_step(anchors, loss, gradient_norm=gradient_norm)

    def contrast(self, anchors: tf.Tensor, groups: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image of this replica, `[B]`."""
        settings = self.hyperparameters
        loss = functools.partial(
            nt_xent,
            same=self.match_images(groups),
            temperature=settings.temperature,
            class_prior=settings.simclr_class_prior,
        )
        return self.over_prefixes(loss, anchors, self.gather_views(anchors))
