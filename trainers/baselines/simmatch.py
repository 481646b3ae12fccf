"""SimMatch: a strong view agrees with a weak view on classes, and on similarities to labelled images."""

from typing import Any, NamedTuple

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.layers.embedding_queue import EmbeddingQueue
from semppl.layers.labels import NO_LABEL
from semppl.layers.networks import unit_norm
from semppl.layers.predictions.distribution_alignment import DistributionAlignment
from semppl.layers.pseudo_labels import Votes
from semppl.losses.baselines import similarity_matching
from semppl.trainers.classifying import Classifying
from semppl.trainers.global_mean import global_mean
from semppl.trainers.siamese import Batch


class Targets(NamedTuple):
    """Targets of the strong view, without gradient.

    Attributes:
        classes: `[B, C]` probabilities of the classes: the soft pseudo-labels.
        neighbours: `[B, Q]` probabilities of the slots of the memory bank; zeros while the memory bank is empty or not yet used.
        votes: `[B]` pseudo-labels and their confidence; `NO_LABEL` below the confidence threshold.
    """

    classes: tf.Tensor
    neighbours: tf.Tensor
    votes: Votes


class SimMatch(Classifying):
    """Trains a classifier and a projector on labels, and on pseudo-labels smoothed by a memory bank of labelled images.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Zheng et al. 2022, arXiv 2203.06915, algorithm 1.
    """

    settings: tuple[str, ...] = ("temperature", "queue_size")

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(hyperparameters, num_classes, **kwargs)
        self.bank = EmbeddingQueue(1, hyperparameters.capacity, hyperparameters.embedding_width, name="bank")
        length = hyperparameters.simmatch_alignment_batches
        self.alignment = DistributionAlignment(num_classes, length, name="alignment")

    @classmethod
    def warning(cls, hyperparameters: Hyperparameters) -> str:
        """Warns of a run that ends before the memory bank is used."""
        delay, steps = hyperparameters.simmatch_delay_steps, hyperparameters.steps
        if not 0 < steps <= delay:
            return ""
        return f"SimMatch never uses its memory bank: --simmatch_delay_steps={delay} must be below --steps={steps} for that"

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        step = tf.convert_to_tensor(self.optimizer.iterations)  # read before the update
        outputs, backpropagate = self.predict(batch)  # [2,B,C+D], of the weak and of the strong views
        unlabelled = batch["labels"] == NO_LABEL
        targets = self.make_targets(outputs[0], unlabelled, step)
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            logits, embeddings = self.split(outputs)
            loss = self.supervise(logits[0], batch["labels"])
            loss += self.agree_on_classes(logits[1], targets, unlabelled)
            loss += self.agree_on_neighbours(embeddings[1], targets, unlabelled)
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, outputs)))
        self.enqueue(embeddings[:1], batch)
        return self.report_pseudo_labels(batch, targets.votes, loss, gradient_norm)

    def embed_view(self, view: tf.Tensor) -> tf.Tensor:
        """Returns the logits, then the unit-norm projections, of one view `[B, H, W, C]`: `[B, C + D]`."""
        features = self.online.features(view, training=True)
        projections = unit_norm(self.online.projector(features, training=True))
        return tf.concat([tf.cast(self.classifier(features), projections.dtype), projections], axis=-1)

    def split(self, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Splits `[..., C + D]` into logits and projections."""
        logits, projections = tf.split(outputs, [self.num_classes, self.hyperparameters.embedding_width], axis=-1)
        return logits, projections

    def make_targets(self, outputs: tf.Tensor, unlabelled: tf.Tensor, step: tf.Tensor) -> Targets:
        """Computes the targets of the strong view from the weak view's outputs `[B, C + D]`."""
        settings = self.hyperparameters
        logits, embeddings = self.split(tf.stop_gradient(outputs))
        probabilities = tf.nn.softmax(logits)
        self.alignment.update(probabilities, unlabelled)
        aligned = self.alignment.align(probabilities)
        labels = tf.convert_to_tensor(self.bank.labels)
        distribution = tf.exp(self.compare(embeddings))  # [B,Q]
        used = (step >= settings.simmatch_delay_steps) & tf.reduce_any(labels != NO_LABEL)
        by_bank = similarity_matching.aggregate(distribution, labels, self.num_classes)
        kept = settings.simmatch_smoothing
        classes = tf.where(used, kept * aligned + (1 - kept) * by_bank, aligned)
        neighbours = tf.where(used, similarity_matching.unfold(distribution, aligned, labels), 0)
        confidence = tf.reduce_max(classes, axis=1)
        chosen = unlabelled & (confidence >= settings.simmatch_threshold)
        best = tf.argmax(classes, axis=1, output_type=tf.int32)
        return Targets(classes, neighbours, Votes(tf.where(chosen, best, NO_LABEL), tf.cast(confidence, tf.float32)))

    def compare(self, embeddings: tf.Tensor) -> tf.Tensor:
        """Returns the logarithms of the distribution of embeddings `[B, D]` over the slots of the memory bank: `[B, Q]`."""
        bank = tf.cast(self.bank.embeddings[0], embeddings.dtype)
        filled = tf.convert_to_tensor(self.bank.labels) != NO_LABEL
        return similarity_matching.similarity_distribution(
            embeddings, bank, filled, temperature=self.hyperparameters.temperature
        )

    def agree_on_classes(self, logits: tf.Tensor, targets: Targets, unlabelled: tf.Tensor) -> tf.Tensor:
        """Returns this replica's share of the weighted consistency loss, from the strong view's logits `[B, C]`."""
        losses = similarity_matching.soft_cross_entropy(targets.classes, tf.nn.log_softmax(logits))
        losses = tf.where(targets.votes.classes != NO_LABEL, losses, 0)
        return self.hyperparameters.simmatch_consistency_weight * global_mean(losses, unlabelled)

    def agree_on_neighbours(self, embeddings: tf.Tensor, targets: Targets, unlabelled: tf.Tensor) -> tf.Tensor:
        """Returns this replica's share of the weighted loss of similarities, from the strong view's projections `[B, D]`."""
        losses = similarity_matching.soft_cross_entropy(targets.neighbours, self.compare(embeddings))
        return self.hyperparameters.simmatch_instance_weight * global_mean(losses, unlabelled)

    def enqueue(self, embeddings: tf.Tensor, batch: Batch) -> None:
        """Puts the labelled images of the global batch into the memory bank, from the weak view's projections `[1, B, D]`."""
        rows = self.hyperparameters.labelled_batch_size
        labels, groups = (self.gather_labels(batch[name])[:rows] for name in ("labels", "groups"))
        self.bank.enqueue(self.gather_views(embeddings)[:, :rows], labels, groups)

    def embedding_variables(self) -> list[tf.Variable]:
        """Returns the trained variables: encoder, classifier and projector."""
        return [*super().embedding_variables(), *self.online.projector.trainable_variables]
