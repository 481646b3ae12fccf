"""SimCLR: two views of an image attract each other, views of other images in the batch repel."""

import functools
from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.layers.semantic_positives import SemanticPositives, entries_at
from semppl.losses.nt_xent import nt_xent, semantic_nt_xent
from semppl.trainers.global_mean import global_mean
from semppl.trainers.semantic import SemanticSiamese
from semppl.trainers.siamese import Batch


class SimCLR(SemanticSiamese):
    """Contrasts each view with all views of the other images of the global batch; labels are used only for semantic positives.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Chen et al. 2020, arXiv 2002.05709, algorithm 1; debiased, Chuang et al. 2020, arXiv 2007.00224.
    """

    settings: tuple[str, ...] = ("temperature", "nested_dims")
    has_target = False
    has_predictor = False

    @classmethod
    def has_positives(cls, hyperparameters: Hyperparameters) -> bool:
        """Returns whether a run with these hyper-parameters has semantic positives."""
        return hyperparameters.simclr_semantic_weight > 0

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        step = tf.convert_to_tensor(self.optimizer.iterations)  # read before the update
        anchors, backpropagate = self.predict(batch)  # [V,B,D]
        large = tf.stop_gradient(anchors[: self.hyperparameters.large_views])
        positives, numbers = self.find_positives(batch, large, large, step)  # [B,L,R]
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            loss = self.contrast(anchors, batch["groups"], positives)
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, anchors)))
        return self.report_step(anchors, loss, **numbers, gradient_norm=gradient_norm)

    def contrast(self, anchors: tf.Tensor, groups: tf.Tensor, positives: SemanticPositives | None) -> tf.Tensor:
        """Computes this replica's share of the loss over the global batch."""
        settings, everyone = self.hyperparameters, self.gather_views(anchors)
        contrasted: dict[str, Any] = {
            "same": self.match_images(groups),
            "temperature": settings.temperature,
            "class_prior": settings.simclr_class_prior,
        }
        loss = self.mean(self.over_prefixes(functools.partial(nt_xent, **contrasted), anchors, everyone))
        if positives is None:
            return loss
        entries = entries_at(self.queue.embeddings, positives.slots)
        losses = self.over_prefixes(functools.partial(semantic_nt_xent, **contrasted), anchors, everyone, entries)
        return loss + settings.simclr_semantic_weight * global_mean(losses, positives.present)
