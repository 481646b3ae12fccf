"""PAWS: views of an image have consistent soft class assignments by a support set, the labelled images of the batch."""

from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import require
from semppl.data.views.making import finish_views
from semppl.layers import collectives
from semppl.layers.labels import NO_LABEL
from semppl.layers.pseudo_labels import Votes
from semppl.losses.baselines import support_assignment
from semppl.trainers.global_mean import global_mean
from semppl.trainers.reports import monitors
from semppl.trainers.siamese import Batch, Siamese


class PAWS(Siamese):
    """Trains each view's soft class assignment towards those of the other large views; labelled images are the support set.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Assran et al. 2021, arXiv 2104.13963, algorithm 1.
    """

    has_target = False
    has_predictor = False
    settings: tuple[str, ...] = ("temperature",)

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(hyperparameters, num_classes, **kwargs)
        labelled, size = hyperparameters.labelled_batch_size, hyperparameters.batch_size
        allowed = f"below batch_size = {size} with --method={hyperparameters.method}, which needs unlabelled images"
        require(labelled < size, "labelled_batch_size", allowed, labelled)

    @classmethod
    def check_settings(cls, hyperparameters: Hyperparameters) -> None:
        """Requires two large views, each the target of the other."""
        views = hyperparameters.large_views
        require(views >= 2, "large_views", f"2 or more with --method={hyperparameters.method}", views)

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        anchors, backpropagate = self.predict(batch)  # [V,B,D]
        labels = self.gather_support(batch["labels"][tf.newaxis])[0]  # [n]
        others = (self.rows >= self.hyperparameters.labelled_batch_size) & tf.reduce_any(labels != NO_LABEL)  # [B]
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            probabilities = self.assign(anchors, labels)  # [V,B,C]
            loss = global_mean(self.compare(probabilities), others)
            loss += self.spread_evenly(probabilities, others)
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, anchors)))
        votes = self.vote(probabilities, others)
        pseudo_labels = monitors.vote_report(votes, batch["labels"], batch["truth"], num_classes=self.num_classes)
        return self.report_step(anchors, loss, gradient_norm=gradient_norm, **pseudo_labels)

    def gather_support(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the labelled rows of the global batch of values `[L, B, …]`: `[L, n, …]`, differentiable."""
        return self.gather_views(values)[:, : self.hyperparameters.labelled_batch_size]

    def assign(self, anchors: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Assigns views `[V, B, D]` to classes by all large views of the support set with labels `[n]`: `[V, B, C]`."""
        settings = self.hyperparameters
        supports = self.gather_support(anchors[: settings.large_views])  # [L,n,D]
        smoothing = settings.paws_label_smoothing
        hot = tf.one_hot(labels, self.num_classes, 1 - smoothing, 0, dtype=anchors.dtype) + smoothing / self.num_classes
        hot = tf.where((labels != NO_LABEL)[:, tf.newaxis], hot, 0)  # [n,C]
        return support_assignment.soft_neighbour_assignment(
            anchors,
            tf.reshape(supports, [-1, supports.shape[-1]]),
            tf.tile(hot, [settings.large_views, 1]),
            temperature=settings.temperature,
        )

    def compare(self, probabilities: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image of this replica, `[B]`, from assignments `[V, B, C]`."""
        settings = self.hyperparameters
        targets = support_assignment.assignment_targets(
            probabilities[: settings.large_views],
            num_views=probabilities.shape[0],
            temperature=settings.paws_sharpening,
        )
        return support_assignment.assignment_consistency(probabilities, targets)

    def spread_evenly(self, probabilities: tf.Tensor, included: tf.Tensor) -> tf.Tensor:
        """Returns this replica's share of the weighted me-max term, of the mean sharpened assignment; 0 without an image."""
        sharp = support_assignment.sharpen(probabilities, temperature=self.hyperparameters.paws_sharpening)
        values = tf.reduce_mean(sharp, axis=0)  # [B,C]
        count = collectives.all_reduce_sum(tf.reduce_sum(tf.cast(included, values.dtype)))
        total = collectives.all_reduce_sum(tf.reduce_sum(tf.where(included[:, tf.newaxis], values, 0), axis=0))
        regulariser = support_assignment.negative_entropy(tf.math.divide_no_nan(total, count))
        return self.hyperparameters.paws_me_max_weight * regulariser / collectives.num_replicas()

    def vote(self, probabilities: tf.Tensor, included: tf.Tensor) -> Votes:
        """Returns the classes to which the included images are assigned on the average over large views, for reports."""
        mean = tf.reduce_mean(probabilities[: self.hyperparameters.large_views], axis=0)  # [B,C]
        classes = tf.argmax(mean, axis=1, output_type=tf.int32)
        return Votes(tf.where(included, classes, NO_LABEL), tf.cast(tf.reduce_max(mean, axis=1), tf.float32))
