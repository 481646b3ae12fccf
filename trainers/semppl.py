"""SemPPL: contrastive learning whose positives are views of an image and images of its (pseudo-)class."""

import functools
from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.objective import OBJECTIVE
from semppl.data.views.making import finish_views
from semppl.layers import collectives
from semppl.layers.embedding_queue import EmbeddingQueue
from semppl.layers.labels import NO_LABEL
from semppl.layers.pseudo_labels import Votes, abstain, nearest_neighbour_vote, share_that_covers
from semppl.layers.randomness import random_integers
from semppl.layers.semantic_positives import SemanticPositives, draw_semantic_positives
from semppl.losses import objective
from semppl.trainers.global_mean import mean_terms
from semppl.trainers.reports import monitors
from semppl.trainers.siamese import Batch, Siamese


class SemPPL(Siamese):
    """Trains an online network against a target network and a memory of labelled images.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C, for the reports and the queue's quotas.

    Reference: Bošnjak et al. 2023, arXiv 2301.05158; docs/reference/method.md maps its symbols to
    these names.
    """

    settings: tuple[str, ...] = (*OBJECTIVE, "target_decay")

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(hyperparameters, num_classes, **kwargs)
        self.queue = EmbeddingQueue(
            hyperparameters.large_views,
            hyperparameters.capacity,
            hyperparameters.embedding_width,
            num_quotas=num_classes if hyperparameters.queue_quotas else 0,
            name="queue",
        )

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
        negatives = self.draw_negatives(groups, step)  # [B,L,M]
        positives = self.draw_semantic_positives(classes, step)  # [B,L,R]
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            terms = self.compare(anchors, targets, negatives, positives)
            loss = self.weigh(terms)
        gradients = backpropagate(tape.gradient(loss, anchors))
        gradient_norm = self.descend(gradients)
        decay = self.move_target(step)
        return self.report(batch, anchors, terms, loss, votes, positives, gradient_norm, decay)

    def gather(
        self, targets: tf.Tensor, labels: tf.Tensor, groups: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the rows of the global batch, labelled ones first: `[L, N, D]`, `[N]` and `[N]`."""
        return self.gather_views(targets), self.gather_labels(labels), self.gather_labels(groups)

    def enqueue(self, targets: tf.Tensor, labels: tf.Tensor, groups: tf.Tensor) -> None:
        """Puts the labelled images of the global batch into the queues."""
        rows = self.hyperparameters.labelled_batch_size
        self.queue.enqueue(targets[:, :rows], labels[:rows], groups[:rows])

    def vote(self, anchors: tf.Tensor, groups: tf.Tensor, labels: tf.Tensor) -> Votes:
        """Elects a class for each image, labelled or not, by its nearest queue entries: `[B]`."""
        votes = nearest_neighbour_vote(
            tf.stop_gradient(anchors[: self.hyperparameters.large_views]),
            groups,
            self.queue.embeddings,
            self.queue.labels,
            self.queue.groups,
            k=self.hyperparameters.neighbours,
            prior_corrected=self.hyperparameters.prior_corrected_votes,
        )
        return abstain(votes, min_share=self.choose_min_share(votes.confidence, labels))

    def choose_min_share(self, confidence: tf.Tensor, labels: tf.Tensor) -> tf.Tensor | float:
        """Returns the share of the votes that a pseudo-label needs: less where too few images reach `min_vote_share`."""
        settings = self.hyperparameters
        if settings.min_pseudo_label_coverage == 0:
            return settings.min_vote_share
        confidence, labels = self.gather_labels(confidence), self.gather_labels(labels)
        covering = share_that_covers(confidence, labels == NO_LABEL, coverage=settings.min_pseudo_label_coverage)
        return tf.minimum(settings.min_vote_share, covering)

    def draw_semantic_positives(self, classes: tf.Tensor, step: tf.Tensor) -> SemanticPositives:
        """Samples entries of each image's class from each queue: slots, `[B, L, R]`."""
        settings = self.hyperparameters
        shape = [settings.batch_size, settings.large_views, settings.semantic_positives]
        numbers = random_integers(shape, seed=settings.seed, purpose="semantic_positives", step=step)
        return draw_semantic_positives(classes, self.queue.labels, tf.gather(numbers, self.rows))

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
            **monitors.vote_report(votes, batch["labels"], batch["truth"], num_classes=self.num_classes),
            "with_semantic_positive": monitors.share(positives.present),
            "embedding_spread": monitors.spread(anchors),
            **self.report_compatibility(),
            "gradient_norm": gradient_norm,
            "target_decay": decay,
        }
