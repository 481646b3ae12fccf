"""What methods with semantic positives share: a queue of labelled images, its votes, and the draw of positives."""

from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.embedding_queue import EmbeddingQueue
from semppl.layers.labels import NO_LABEL
from semppl.layers.pseudo_labels import Votes, abstain, nearest_neighbour_vote, share_that_covers
from semppl.layers.randomness import random_integers
from semppl.layers.semantic_positives import SemanticPositives, draw_semantic_positives
from semppl.trainers.reports import monitors
from semppl.trainers.siamese import Batch, Siamese

SEMANTIC = (
    "semantic_positives",
    "neighbours",
    "min_vote_share",
    "min_pseudo_label_coverage",
    "queue_size",
    "queue_quotas",
    "voting_views",
    "prior_corrected_votes",
)
"""Names of the settings of the queue, the vote and the draw."""


class SemanticSiamese(Siamese):
    """A siamese method that has a queue of labelled images in runs with semantic positives.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C, for the reports and the queue's quotas.

    Attributes:
        queue: Embeddings of labelled images, where there are semantic positives.
    """

    queue: EmbeddingQueue

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(hyperparameters, num_classes, **kwargs)
        if self.has_positives(hyperparameters):
            self.queue = EmbeddingQueue(
                hyperparameters.large_views,
                hyperparameters.capacity,
                hyperparameters.embedding_width,
                num_quotas=num_classes if hyperparameters.queue_quotas else 0,
                name="queue",
            )

    @classmethod
    def has_positives(cls, hyperparameters: Hyperparameters) -> bool:
        """Returns whether a run with these hyper-parameters has semantic positives."""
        raise NotImplementedError

    @classmethod
    def uses(cls, hyperparameters: Hyperparameters) -> tuple[str, ...]:
        """Returns the names of the settings that a run with these hyper-parameters uses; see `settings`."""
        return (*super().uses(hyperparameters), *(SEMANTIC if cls.has_positives(hyperparameters) else ()))

    def find_positives(
        self, batch: Batch, anchors: tf.Tensor, embeddings: tf.Tensor, step: tf.Tensor
    ) -> tuple[SemanticPositives | None, dict[str, tf.Tensor]]:
        """Queues the labelled images, and draws the semantic positives of each image.

        Args:
            batch: This replica's share of a batch.
            anchors: `[V, B, D]` unit-norm predictions that vote, the large views first.
            embeddings: `[L, B, D]` unit-norm embeddings of the large views that are queued.
            step: Number of the step.

        Returns:
            The positives and metrics to report; None and no metric in a run without semantic positives.
        """
        if not self.has_positives(self.hyperparameters):
            return None, {}
        self.enqueue(*self.gather(embeddings, batch["labels"], batch["groups"]))
        votes = self.vote(anchors, batch["groups"], batch["labels"])
        classes = tf.where(batch["labels"] != NO_LABEL, batch["labels"], votes.classes)  # [B]
        positives = self.draw_semantic_positives(classes, step)  # [B,L,R]
        return positives, self.report_positives(batch, votes, positives)

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
        views = self.hyperparameters.num_voting_views
        votes = nearest_neighbour_vote(
            tf.stop_gradient(anchors[:views]),
            groups,
            self.queue.embeddings[:views],
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

    def report_positives(self, batch: Batch, votes: Votes, positives: SemanticPositives) -> dict[str, tf.Tensor]:
        """Returns the metrics of votes and positives, over the global batch."""
        return {
            **monitors.vote_report(votes, batch["labels"], batch["truth"], num_classes=self.num_classes),
            "with_semantic_positive": monitors.share(positives.present),
        }
