"""FixMatch: confident predictions for a weakly augmented view are pseudo-labels for a strongly augmented view."""

from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.layers import collectives
from semppl.layers.labels import NO_LABEL
from semppl.layers.predictions.adaptive_thresholds import AdaptiveThresholds
from semppl.layers.pseudo_labels import Votes
from semppl.losses.baselines.confident_consistency import class_fairness, confident_consistency
from semppl.trainers.classifying import Classifying
from semppl.trainers.global_mean import global_mean
from semppl.trainers.siamese import Batch


class FixMatch(Classifying):
    """Trains an encoder and a classifier on labelled images, and on pseudo-labels of unlabelled images.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Sohn et al. 2020, arXiv 2001.07685, algorithm 1; with adaptive thresholds FreeMatch, Wang et al. 2023,
    arXiv 2205.07246, algorithm 1.
    """

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(hyperparameters, num_classes, **kwargs)
        self.thresholds: AdaptiveThresholds | None = None
        if hyperparameters.fixmatch_adaptive_thresholds:
            decay = hyperparameters.fixmatch_threshold_decay
            self.thresholds = AdaptiveThresholds(num_classes, decay, name="thresholds")

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        logits, backpropagate = self.predict(batch)  # [2,B,C], of the weak and of the strong views
        unlabelled = batch["labels"] == NO_LABEL
        votes = self.label(logits[0], unlabelled)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            weak, strong = tf.unstack(logits)
            supervised = self.supervise(weak, batch["labels"])
            consistency = global_mean(confident_consistency(strong, votes.classes), unlabelled)
            loss = supervised + self.hyperparameters.fixmatch_consistency_weight * consistency
            loss += self.hyperparameters.fixmatch_fairness_weight * self.fairness(strong, votes.classes)
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, logits)))
        return self.report_pseudo_labels(batch, votes, loss, gradient_norm)

    def label(self, logits: tf.Tensor, unlabelled: tf.Tensor) -> Votes:
        """Returns the pseudo-labels `[B]` of the unlabelled images whose prediction is confident, from logits `[B, C]`."""
        probabilities = tf.nn.softmax(tf.stop_gradient(logits))
        classes = tf.argmax(probabilities, axis=1, output_type=tf.int32)
        confidence = tf.reduce_max(probabilities, axis=1)
        least: Any = self.hyperparameters.fixmatch_threshold
        if self.thresholds is not None:
            self.thresholds.update(probabilities, unlabelled)
            least = tf.gather(tf.cast(self.thresholds.thresholds(), confidence.dtype), classes)
        chosen = tf.where(unlabelled & (confidence >= least), classes, NO_LABEL)
        return Votes(chosen, tf.cast(confidence, tf.float32))

    def fairness(self, logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Returns this replica's share of FreeMatch's fairness loss over pseudo-labelled images; 0 without adaptive thresholds."""
        if self.thresholds is None:
            return tf.zeros([], logits.dtype)
        probabilities = tf.nn.softmax(logits)
        predicted = tf.one_hot(tf.argmax(logits, axis=1), self.num_classes, dtype=logits.dtype)
        values = tf.concat([tf.ones_like(logits[:, :1]), probabilities, predicted], axis=1)
        totals = collectives.all_reduce_sum(
            tf.reduce_sum(tf.where(classes[:, tf.newaxis] != NO_LABEL, values, 0), axis=0)
        )
        means = tf.math.divide_no_nan(totals[1:], totals[0])
        value = class_fairness(
            means[: self.num_classes],
            means[self.num_classes :],
            expected_mean=tf.cast(self.thresholds.probabilities, means.dtype),
            expected_shares=tf.cast(self.thresholds.shares, means.dtype),
        )
        return tf.where(totals[0] > 0, value, 0) / collectives.num_replicas()
