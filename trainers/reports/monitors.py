"""Statistics that a training step reports, over the global batch."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from semppl.layers import collectives
from semppl.layers.labels import NO_LABEL
from semppl.layers.pseudo_labels import Votes


def vote_report(votes: Votes, labels: tf.Tensor, truth: tf.Tensor, *, num_classes: int) -> dict[str, tf.Tensor]:
    """Reports on the pseudo-labels of the unlabelled images of the global batch.

    Args:
        votes: `[B]` votes for this replica's images.
        labels: `[B]` int32 visible labels; NO_LABEL where hidden.
        truth: `[B]` int32 ground truth; NO_LABEL where unknown.
        num_classes: Number of classes, C.

    Returns:
        Scalars in 0..1, and 0 if there is no image to average over:
        pseudo_label_coverage: Share of the unlabelled images that received a pseudo-label.
        pseudo_label_accuracy: Share of correct pseudo-labels among those whose ground truth is known.
        pseudo_label_balanced_accuracy: Mean of that share over the true classes.
        vote_confidence: Mean share of the votes that the winning class received.
        And pseudo_labels_judged: Number of images that the accuracies are computed from; see `meaningful`.
    """
    unlabelled = labels == NO_LABEL
    voted = unlabelled & (votes.classes != NO_LABEL)
    judged = voted & (truth != NO_LABEL)
    counts = _count(unlabelled, voted, judged, judged & (votes.classes == truth))
    confidence = tf.reduce_sum(tf.where(voted, votes.confidence, 0.0))
    num_unlabelled, num_voted, num_judged, num_right, confidence = tf.unstack(
        collectives.all_reduce_sum(tf.stack([*counts, confidence]))
    )
    return {
        "pseudo_labels_judged": num_judged,
        "pseudo_label_accuracy": tf.math.divide_no_nan(num_right, num_judged),
        "pseudo_label_balanced_accuracy": _balanced_accuracy(judged, votes.classes, truth, num_classes),
        "pseudo_label_coverage": tf.math.divide_no_nan(num_voted, num_unlabelled),
        "vote_confidence": tf.math.divide_no_nan(confidence, num_voted),
    }


def meaningful(report: Mapping[str, Any]) -> dict[str, float]:
    """Converts a step's report to floats, without accuracies that were computed from no image."""
    numbers = {name: float(value) for name, value in report.items()}
    if numbers.get("pseudo_labels_judged") == 0:
        return {name: number for name, number in numbers.items() if not name.endswith("accuracy")}
    return numbers


def _balanced_accuracy(judged: tf.Tensor, classes: tf.Tensor, truth: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Averages the share of correct classes over the true classes in the global batch; 0 if there are none."""
    of_class = judged[:, tf.newaxis] & (truth[:, tf.newaxis] == tf.range(num_classes))  # [B,C]
    right = of_class & (classes == truth)[:, tf.newaxis]
    counts = tf.reduce_sum(tf.cast(tf.stack([of_class, right]), tf.float32), axis=1)  # [2,C]
    num_judged, num_right = tf.unstack(collectives.all_reduce_sum(counts))
    occurring = tf.reduce_sum(tf.cast(num_judged > 0, tf.float32))
    return tf.math.divide_no_nan(tf.reduce_sum(tf.math.divide_no_nan(num_right, num_judged)), occurring)


def share(chosen: tf.Tensor) -> tf.Tensor:
    """Returns the share of the global batch for which `chosen`, `[B]` bool, is true."""
    number, total = tf.unstack(collectives.all_reduce_sum(tf.stack(_count(chosen, tf.ones_like(chosen)))))
    return number / total


def spread(embeddings: tf.Tensor) -> tf.Tensor:
    """Measures how far unit-norm embeddings are from having collapsed into one point.

    Args:
        embeddings: `[V, B, D]` unit-norm embeddings.

    Returns:
        1 − ‖mean‖² over views and the global batch: 0 when all are equal, towards 1 when they point everywhere.
    """
    mean = tf.reduce_mean(embeddings, axis=[0, 1]) / collectives.num_replicas()
    return 1 - tf.reduce_sum(tf.square(collectives.all_reduce_sum(mean)))


def _count(*chosen: tf.Tensor) -> list[tf.Tensor]:
    return [tf.reduce_sum(tf.cast(choice, tf.float32)) for choice in chosen]
