"""SupCon: all views of all images of a class attract each other; an unlabelled image is a class of its own."""

import functools

import tensorflow as tf

from semppl.data.views.making import finish_views
from semppl.layers.labels import NO_LABEL
from semppl.losses.baselines.supervised_contrast import supervised_contrast
from semppl.trainers.siamese import Batch, Siamese


class SupCon(Siamese):
    """Contrasts each view with all other views of the global batch, those of its class as positives.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Khosla et al. 2020, arXiv 2004.11362, section 3.2.
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
            loss = self.mean(self.contrast(anchors, batch["labels"], batch["groups"]))
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, anchors)))
        return self.report_step(anchors, loss, gradient_norm=gradient_norm)

    def contrast(self, anchors: tf.Tensor, labels: tf.Tensor, groups: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image of this replica, `[B]`."""
        of_class = (labels[:, tf.newaxis] == self.gather_labels(labels)) & (labels != NO_LABEL)[:, tf.newaxis]  # [B,N]
        loss = functools.partial(
            supervised_contrast,
            rows=self.rows,
            alike=of_class | self.match_images(groups),
            temperature=self.hyperparameters.temperature,
        )
        return self.over_prefixes(loss, anchors, self.gather_views(anchors))
