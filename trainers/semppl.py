"""SemPPL: contrastive learning whose positives are views of an image and images of its (pseudo-)class."""

from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.layers import collectives
from semppl.layers.blocks.precision import computing_in
from semppl.layers.blocks.recomputation import recomputing
from semppl.layers.embedding_queue import EmbeddingQueue
from semppl.layers.labels import NO_LABEL
from semppl.layers.moving_average import update_moving_average
from semppl.layers.negatives import draw_negatives
from semppl.layers.networks import OnlineNetwork, TargetNetwork
from semppl.layers.pseudo_labels import Votes, abstain, nearest_neighbour_vote, share_that_covers
from semppl.layers.randomness import random_integers
from semppl.layers.semantic_positives import SemanticPositives, draw_semantic_positives
from semppl.losses import objective
from semppl.trainers import micro_batches
from semppl.trainers.global_mean import mean_terms
from semppl.trainers.method import Method
from semppl.trainers.optimisers import schedules
from semppl.trainers.reports import monitors

Batch = dict[str, tf.Tensor]


class SemPPL(Method):
    """Trains an online network against a target network and a memory of labelled images.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C, for the reports and the queue's quotas.

    Reference: Bošnjak et al. 2023, arXiv 2301.05158; docs/reference/method.md maps its symbols to
    these names.
    """

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hyperparameters = hyperparameters
        self.num_classes = num_classes
        shape = [None, hyperparameters.large_size, hyperparameters.large_size, hyperparameters.channels]
        with computing_in(hyperparameters.precision):
            self.online = OnlineNetwork(**hyperparameters.network, name="online")
            shared = self.online.encoder if hyperparameters.train != "all" else None
            self.target = TargetNetwork(**hyperparameters.network, shared_encoder=shared, name="target")
            self.online.build(shape)
            self.target.build(shape)
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

    def predict(self, batch: Batch) -> tuple[tf.Tensor, micro_batches.Backward]:
        """Returns online predictions `[V, B, D]`, and the function that maps their gradient to those of f, g and h."""
        variables, parts = self.online.trainable_variables, self.hyperparameters.accumulate_steps
        return micro_batches.forward(self.predict_views, _views(batch), variables, parts=parts)

    def project(self, batch: Batch) -> tf.Tensor:
        """Returns the target projections of a batch, one micro-batch at a time: `[L, B, D]`, without gradient."""
        return micro_batches.predict_in_parts(
            self.project_views, _views(batch), parts=self.hyperparameters.accumulate_steps
        )

    def predict_views(self, batch: Batch) -> tf.Tensor:
        """Returns the online predictions of all views, large ones first: `[V, B, D]`.

        Each view passes the network alone: batch norm takes the statistics of one view.
        """
        views = [*tf.unstack(batch["large"]), *tf.unstack(batch["small"])]
        with recomputing(self.hyperparameters.gradient_checkpointing):
            return tf.stack([self.online(view, training=True) for view in views])

    def project_views(self, batch: Batch) -> tf.Tensor:
        """Returns the target projections of the large views: `[L, B, D]`, without gradient."""
        return tf.stop_gradient(tf.stack([self.target(view, training=True) for view in tf.unstack(batch["large"])]))

    def gather(
        self, targets: tf.Tensor, labels: tf.Tensor, groups: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the rows of the global batch, labelled ones first: `[L, N, D]`, `[N]` and `[N]`."""
        rows = self.num_labelled_rows
        return (
            collectives.gather_rows(targets, axis=1, num_labelled=rows),
            collectives.gather_rows(labels, axis=0, num_labelled=rows),
            collectives.gather_rows(groups, axis=0, num_labelled=rows),
        )

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
        confidence, labels = (
            collectives.gather_rows(rows, axis=0, num_labelled=self.num_labelled_rows) for rows in (confidence, labels)
        )
        covering = share_that_covers(confidence, labels == NO_LABEL, coverage=settings.min_pseudo_label_coverage)
        return tf.minimum(settings.min_vote_share, covering)

    def draw_negatives(self, groups: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Samples other images for each image and target view: positions in the global batch, `[B, L, M]`."""
        settings = self.hyperparameters
        shape = [settings.batch_size, settings.large_views, settings.negatives]
        numbers = random_integers(shape, seed=settings.seed, purpose="negatives", step=step)
        return draw_negatives(groups, self.rows, tf.gather(numbers, self.rows))

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
        per_image = objective.terms(
            anchors,
            targets,
            tf.convert_to_tensor(self.queue.embeddings),
            rows=self.rows,
            negatives=negatives,
            slots=positives.slots,
            present=positives.present,
            temperature=self.hyperparameters.temperature,
        )
        return mean_terms(per_image, positives.present)

    def weigh(self, terms: objective.Terms) -> tf.Tensor:
        """Returns c·(L_AUGM + α·L_SEMPOS) + λ·(I_AUGM + I_SEMPOS)."""
        settings = self.hyperparameters
        contrast = terms.contrastive_augmentation + settings.semantic_weight * terms.contrastive_semantic
        invariance = terms.invariance_augmentation + terms.invariance_semantic
        return settings.contrastive_weight * contrast + settings.invariance_weight * invariance

    def descend(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """Updates f, g and h with the gradients summed over replicas; returns their global norm."""
        variables = self.online.trainable_variables
        gradients = [collectives.all_reduce_sum(gradient) for gradient in gradients]
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True), skip_gradients_aggregation=True)
        return tf.linalg.global_norm(gradients)

    def move_target(self, step: tf.Tensor) -> tf.Tensor:
        """Moves the parameters of f_t and g_t towards those of f and g; returns the decay."""
        settings = self.hyperparameters
        decay = schedules.target_decay(step, base=settings.target_decay, total_steps=settings.steps)
        update_moving_average(self.target.trainable_variables, self.online.projecting_variables, decay)
        return decay

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
            "gradient_norm": gradient_norm,
            "target_decay": decay,
        }

    @property
    def num_labelled_rows(self) -> int:
        """The number of labelled images in this replica's share of a batch."""
        return self.hyperparameters.labelled_batch_size // collectives.num_replicas()

    @property
    def rows(self) -> tf.Tensor:
        """The positions of this replica's images in the global batch: int32 of shape `[B]`."""
        return collectives.local_rows(
            self.hyperparameters.batch_size // collectives.num_replicas(), self.num_labelled_rows
        )

    def trained_variables(self) -> list[tf.Variable]:
        """Returns the variables that the optimiser updates."""
        variables: list[tf.Variable] = self.online.trainable_variables
        return variables


def _views(batch: Batch) -> Batch:
    return {name: batch[name] for name in ("large", "small")}
