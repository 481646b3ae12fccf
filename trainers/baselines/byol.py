"""BYOL: the prediction of one view approaches the target projection of another; there are no negatives."""

from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import require
from semppl.data.views.making import finish_views
from semppl.layers import collectives
from semppl.layers.blocks.closed_form_predictor import STIEFEL, ClosedFormPredictor, covariance, covariance_of_pairs
from semppl.layers.networks import unit_norm
from semppl.layers.semantic_positives import SemanticPositives, entries_at
from semppl.losses.cosine_distance import cosine_distance, semantic_cosine_distance
from semppl.trainers.global_mean import global_mean
from semppl.trainers.semantic import SemanticSiamese
from semppl.trainers.siamese import Batch


class BYOL(SemanticSiamese):
    """Predicts the target projections of the large views from every other view; labels are used only for semantic positives.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Grill et al. 2020, arXiv 2006.07733, algorithm 1; predictors in closed form, Richemond et al. 2023, arXiv 2302.04817.
    """

    settings: tuple[str, ...] = ("nested_dims", "target_decay")

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(hyperparameters, num_classes, **kwargs)
        kind, views = hyperparameters.byol_predictor, hyperparameters.large_views
        require(kind != STIEFEL or views > 1, "large_views", f"2 or more with --byol_predictor={kind}", views)
        self.has_predictor = kind == "mlp"
        if not self.has_predictor:
            self.closed_form = ClosedFormPredictor(
                kind,
                hyperparameters.embedding_width,
                ridge=hyperparameters.byol_predictor_ridge,
                decay=hyperparameters.byol_predictor_decay,
                name="closed_form",
            )

    @classmethod
    def has_positives(cls, hyperparameters: Hyperparameters) -> bool:
        """Returns whether a run with these hyper-parameters has semantic positives."""
        return hyperparameters.byol_semantic_weight > 0

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        step = tf.convert_to_tensor(self.optimizer.iterations)  # read before the update
        anchors, backpropagate = self.predict(batch)  # [V,B,D]; projections, where the predictor is a closed form
        targets = self.project(batch)  # [L,B,D]
        matrix = self.fit_predictor(anchors, targets)  # [D,D]
        positives, numbers = self.find_positives(batch, self.apply_predictor(anchors, matrix), targets, step)  # [B,L,R]
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            loss = self.compare(self.apply_predictor(anchors, matrix), targets, positives)
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, anchors)))
        decay = self.move_target(step)
        return self.report_step(anchors, loss, **numbers, gradient_norm=gradient_norm, target_decay=decay)

    def fit_predictor(self, anchors: tf.Tensor, targets: tf.Tensor) -> tf.Tensor | None:
        """Returns the matrix `[D, D]` of a predictor in closed form, fitted to the global batch; None for a trained predictor."""
        if self.has_predictor:
            return None
        large = anchors[: self.hyperparameters.large_views]
        share = covariance_of_pairs(large, targets) if self.closed_form.is_of_pairs else covariance(large)
        return self.closed_form.fit(collectives.all_reduce_sum(share) / collectives.num_replicas())

    def apply_predictor(self, anchors: tf.Tensor, matrix: tf.Tensor | None) -> tf.Tensor:
        """Returns the unit-norm predictions `[V, B, D]`; with a trained predictor, the anchors are these already."""
        return anchors if matrix is None else unit_norm(tf.einsum("de,vbe->vbd", matrix, anchors))

    def compare(self, predictions: tf.Tensor, targets: tf.Tensor, positives: SemanticPositives | None) -> tf.Tensor:
        """Computes this replica's share of the loss over the global batch."""
        loss = self.mean(self.over_prefixes(cosine_distance, predictions, targets))
        if positives is None:
            return loss
        entries = entries_at(self.queue.embeddings, positives.slots)
        distances = self.over_prefixes(semantic_cosine_distance, predictions, entries)
        return loss + self.hyperparameters.byol_semantic_weight * global_mean(distances, positives.present)
