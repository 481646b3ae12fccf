"""SemPPL: contrastive learning whose positives are views of an image and images of its (pseudo-)class."""

import functools

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.layers import collectives
from semppl.layers.labels import NO_LABEL
from semppl.layers.negatives import exclusion_keys
from semppl.layers.pseudo_labels import Votes
from semppl.layers.semantic_positives import SemanticPositives
from semppl.losses import objective
from semppl.trainers.global_mean import mean_terms
from semppl.trainers.reports import monitors
from semppl.trainers.semantic import SemanticSiamese
from semppl.trainers.siamese import Batch


class SemPPL(SemanticSiamese):
    """Trains an online network against a target network and a memory of labelled images.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C, for the reports and the queue's quotas.

    Reference: Bošnjak et al. 2023, arXiv 2301.05158; docs/reference/method.md maps its symbols to
    these names.
    """

    settings: tuple[str, ...] = (
        "temperature",
        "negatives",
        "same_class_negatives",
        "contrastive_weight",
        "semantic_weight",
        "invariance_weight",
        "invariance_stop_gradient",
        "nested_dims",
        "target_decay",
    )

    @classmethod
    def has_positives(cls, hyperparameters: Hyperparameters) -> bool:
        """Returns whether a run with these hyper-parameters has semantic positives; here always."""
        del hyperparameters
        return True

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step of the method on this replica's share of a batch.

        Args:
            batch: Batch from `data.pipeline`: large `[L, B, H, W, C]` and small `[S, B, h, w, C]`
                views; labels, truth and groups `[B]`; seeds `[B, 2]` if the views are augmented
                here.

        Returns:
            Scalars to report, equal on all replicas.
        """
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        step = tf.convert_to_tensor(self.optimizer.iterations)  # read before the update
        anchors, backpropagate = self.predict(batch)  # [V,B,D]
        targets = self.project(batch)  # [L,B,D]
        targets, labels, groups = self.gather(targets, batch["labels"], batch["groups"])  # [L,N,D], [N], [N]
        self.enqueue(targets, labels, groups)
        votes = self.vote(anchors, batch["groups"], batch["labels"])
        classes = tf.where(batch["labels"] != NO_LABEL, batch["labels"], votes.classes)  # [B]
        negatives = self.draw_negatives(self.exclude_classes(groups, labels, classes), step)  # [B,L,M]
        positives = self.draw_semantic_positives(classes, step)  # [B,L,R]
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            terms = self.compare(anchors, targets, negatives, positives)
            loss = self.weigh(terms)
        gradients = backpropagate(tape.gradient(loss, anchors))
        gradient_norm = self.descend(gradients)
        decay = self.move_target(step)
        return self.report(batch, anchors, terms, loss, votes, positives, gradient_norm, decay)

    def exclude_classes(self, groups: tf.Tensor, labels: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Returns int64 keys `[N]`, equal for images that are not negatives of one another; see `exclusion_keys`.

        Args:
            groups: `[N]` int64 groups of the global batch, which are the keys with `same_class_negatives`.
            labels: `[N]` int32 labels of the global batch, NO_LABEL where hidden.
            classes: `[B]` int32 labels or pseudo-labels of this replica, NO_LABEL where neither is known.
        """
        if self.hyperparameters.same_class_negatives:
            return groups
        return exclusion_keys(groups, labels, self.gather_labels(classes), num_classes=self.num_classes)

    def compare(
        self, anchors: tf.Tensor, targets: tf.Tensor, negatives: tf.Tensor, positives: SemanticPositives
    ) -> objective.Terms:
        """Computes this replica's share of the four terms' means over the global batch."""
        loss = functools.partial(
            objective.terms,
            rows=self.rows,
            negatives=negatives,
            slots=positives.slots,
            present=positives.present,
            temperature=self.hyperparameters.temperature,
            stop_teacher=self.hyperparameters.invariance_stop_gradient,
        )
        per_image = self.over_prefixes(loss, anchors, targets, tf.convert_to_tensor(self.queue.embeddings))
        return mean_terms(per_image, positives.present)

    def weigh(self, terms: objective.Terms) -> tf.Tensor:
        """Returns c·(L_AUGM + α·L_SEMPOS) + λ·(I_AUGM + I_SEMPOS)."""
        settings = self.hyperparameters
        contrast = terms.contrastive_augmentation + settings.semantic_weight * terms.contrastive_semantic
        invariance = terms.invariance_augmentation + terms.invariance_semantic
        return settings.contrastive_weight * contrast + settings.invariance_weight * invariance

    def report(
        self,
        batch: Batch,
        anchors: tf.Tensor,
        terms: objective.Terms,
        loss: tf.Tensor,
        votes: Votes,
        positives: SemanticPositives,
        gradient_norm: tf.Tensor,
        decay: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Returns the metrics of the step, over the global batch."""
        losses = collectives.all_reduce_sum(tf.stack([loss, *terms]))
        return {
            **dict(zip(("loss", *objective.Terms._fields), tf.unstack(losses), strict=True)),
            **self.report_positives(batch, votes, positives),
            "embedding_spread": monitors.spread(anchors),
            **self.report_compatibility(),
            "gradient_norm": gradient_norm,
            "target_decay": decay,
        }
