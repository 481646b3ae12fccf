"""A memory of labelled embeddings, which classifies an embedding by a weighted vote of these, or of rows fitted to these."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from semppl.export.memory.answers import Voters
from semppl.export.memory.calibration import Calibration
from semppl.layers.labels import NO_LABEL


class LabelledMemory(tf.Module):
    """Classifies embeddings by their similarity to remembered embeddings, or by a linear classifier fitted to these.

    All state is in variables of free length, so that `update_memory` can exchange their values without changing the graph of a
    SavedModel.

    Args:
        embeddings: `[M, D]` unit-norm embeddings of labelled images.
        labels: int32 `[M]` in 0..C-1.
        ids: int64 `[M]` identifiers of the images.
        class_names: `C` names, in the order of the labels.
        calibration: Parameters that were fitted on other images.
        voters: Rows that classify in place of the remembered embeddings; None: these vote.
    """

    def __init__(
        self,
        embeddings: np.ndarray,
        labels: np.ndarray,
        ids: np.ndarray,
        class_names: Sequence[str],
        calibration: Calibration,
        voters: Voters | None = None,
    ) -> None:
        super().__init__(name="memory")
        self.embeddings = _variable(embeddings, tf.float32, [None, embeddings.shape[1]])
        self.labels = _variable(labels, tf.int32, [None])
        self.ids = _variable(ids, tf.int64, [None])
        self.class_names = _variable([*class_names, ""], tf.string, [None])  # the last one stands for no class
        self.temperature = _variable(calibration.temperature, tf.float32, [])
        self.threshold = _variable(calibration.threshold, tf.float32, [])
        self.set_threshold = _variable(calibration.set_threshold, tf.float32, [])
        self._has_voters = voters is not None
        if voters is not None:
            self.voters = _variable(voters.kernel, tf.float32, [None, embeddings.shape[1]])
            self.voter_biases = _variable(voters.bias, tf.float32, [None])
            self.voter_classes = _variable(voters.classes, tf.int32, [None])

    def classify(self, embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies `[B, D]` unit-norm embeddings; a row of zeros, as of a broken picture, gets no class.

        Returns:
            A dictionary: label, int32 `[B]`, the most probable class; class_name, string `[B]`; probability, `[B]`, that of the
            label; abstain, bool `[B]`, true where the probability is below the threshold; probabilities, `[B, C]`;
            prediction_set, bool `[B, C]`, which contains the label at least.
        """
        num_classes = tf.size(self.class_names) - 1
        valid = _has_direction(embeddings)
        scores, classes = self._scores(embeddings)
        probabilities = class_probabilities(scores, classes, num_classes, temperature=self.temperature)
        label = tf.argmax(probabilities, -1, tf.int32)
        probability = tf.reduce_max(probabilities, -1)
        likeliest = tf.one_hot(label, num_classes, on_value=True, off_value=False)
        answer = {
            "label": label,
            "probability": probability,
            "abstain": probability < self.threshold,
            "probabilities": probabilities,
            "prediction_set": likeliest | (probabilities >= self.set_threshold),
        }
        # Selects the index, because TFLite has no `where` for strings.
        class_name = tf.gather(self.class_names, tf.where(valid, label, num_classes))
        return mask_invalid(answer, valid) | {"class_name": class_name}

    def neighbours(self, embeddings: tf.Tensor, *, k: int) -> dict[str, tf.Tensor]:
        """Finds the `k` entries (all, if there are fewer) most similar to each of `[B, D]` embeddings.

        Returns:
            A dictionary: ids, int64 `[B, k]`; labels, int32 `[B, k]`; similarities, `[B, k]` in -1..1, falling. For a row of
            zeros these are -1, -1 and 0.
        """
        similarities, positions = tf.math.top_k(self._similarities(embeddings), tf.minimum(k, tf.size(self.labels)))
        answer = {
            "ids": tf.gather(self.ids, positions),
            "labels": tf.gather(self.labels, positions),
            "similarities": similarities,
        }
        return mask_invalid(answer, _has_direction(embeddings))

    def _scores(self, embeddings: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns scores `[B, R]` and the classes `[R]` for which these count."""
        if not self._has_voters:
            return self._similarities(embeddings), self.labels
        scores = tf.matmul(embeddings, self.voters, transpose_b=True) + self.voter_biases  # [B,R]
        return scores, self.voter_classes

    def _similarities(self, embeddings: tf.Tensor) -> tf.Tensor:
        return tf.matmul(embeddings, self.embeddings, transpose_b=True)  # [B,M]


def class_probabilities(
    similarities: tf.Tensor, labels: tf.Tensor, num_classes: tf.Tensor | int, *, temperature: tf.Tensor | float
) -> tf.Tensor:
    """Computes class probabilities by a vote in which each remembered image has the weight e^(similarity/temperature).

    With one entry per class, and its logits as similarities, this is a softmax.

    Args:
        similarities: `[B, M]`; minus infinity where an entry must not vote.
        labels: int32 `[M]`, classes of the entries.
        num_classes: Number of classes, C.
        temperature: Divisor of the similarities; positive. Towards 0, only the most similar entry counts.

    Returns:
        `[B, C]` shares of the votes, in 0..1.

    Reference: the kernel-weighted form of SemPPL's vote by the nearest labelled embeddings, arXiv 2301.05158.
    """
    weights = tf.transpose(tf.nn.softmax(similarities / temperature))  # [M,B]
    shares = tf.transpose(tf.math.unsorted_segment_sum(weights, labels, num_classes))
    return tf.minimum(shares, 1.0)  # a sum of rounded shares may be above


def mask_invalid(answer: dict[str, tf.Tensor], valid: tf.Tensor) -> dict[str, tf.Tensor]:
    """Replaces the answers to unreadable pictures: no class, abstain, the largest out-of-distribution score.

    Args:
        answer: Outputs of a signature by name, `[B]` or `[B, …]`.
        valid: bool `[B]`, false where a picture could not be read.
    """
    replacements = {
        "label": NO_LABEL,
        "class_name": "",
        "probability": 0.0,
        "abstain": True,
        "distance": tf.float32.max,
        "ood": 100.0,
        "embedding": 0.0,
        "probabilities": 0.0,
        "prediction_set": True,  # any class is possible
        "ids": -1,
        "labels": NO_LABEL,
        "similarities": 0.0,
    }
    return {
        name: tf.where(valid[:, tf.newaxis] if values.shape.rank == 2 else valid, values, replacements[name])
        for name, values in answer.items()
    }


def _has_direction(embeddings: tf.Tensor) -> tf.Tensor:
    return tf.reduce_any(embeddings != 0, axis=-1)


def _variable(value: object, dtype: tf.DType, shape: list[int | None]) -> tf.Variable:
    return tf.Variable(tf.constant(value, dtype), trainable=False, shape=tf.TensorShape(shape))
