"""The labelled images that a served model remembers: they vote on what a picture shows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from semppl.layers.labels import NO_LABEL


class Calibration(NamedTuple):
    """How what a memory says becomes an answer.

    Attributes:
        temperature: divides similarities before they vote; positive.
        threshold: of the probability below which the model abstains, in 0..1; above 1 it always does.
        set_threshold: of the probability from which on a class belongs to the prediction set, in 0..1.
    """

    temperature: float
    threshold: float
    set_threshold: float


class LabelledMemory(tf.Module):
    """Answers from the similarity of an embedding to remembered ones.

    Everything is a variable, of any length: `update_memory` exchanges the values, and nothing else of a SavedModel.

    Args:
        embeddings: `[M, D]` unit-norm, of labelled images.
        labels: `[M]` int32 in 0..C-1.
        ids: `[M]` int64.
        class_names: `[C]` texts.
        answers: fitted on other images.
    """

    def __init__(
        self,
        embeddings: np.ndarray,
        labels: np.ndarray,
        ids: np.ndarray,
        class_names: Sequence[str],
        answers: Calibration,
    ) -> None:
        super().__init__(name="memory")
        self.embeddings = _variable(embeddings, tf.float32, [None, embeddings.shape[1]])
        self.labels = _variable(labels, tf.int32, [None])
        self.ids = _variable(ids, tf.int64, [None])
        self.class_names = _variable([*class_names, ""], tf.string, [None])  # the last is that of no class
        self.temperature = _variable(answers.temperature, tf.float32, [])
        self.threshold = _variable(answers.threshold, tf.float32, [])
        self.set_threshold = _variable(answers.set_threshold, tf.float32, [])

    def classify(self, embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies `[B, D]` unit-norm embeddings; a row of zeros, which a broken picture has, gets no class.

        Returns:
            label `[B]` int32, the most probable class; class_name `[B]` string; probability `[B]` of it; abstain `[B]` bool,
            whether that is too little to be relied upon; probabilities `[B, C]`; prediction_set `[B, C]` bool, the classes that
            it may be, never none.
        """
        num_classes = tf.size(self.class_names) - 1
        valid = _has_direction(embeddings)
        probabilities = class_probabilities(
            self._similarities(embeddings), self.labels, num_classes, temperature=self.temperature
        )
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
        # By its number, for TFLite cannot choose among texts.
        class_name = tf.gather(self.class_names, tf.where(valid, label, num_classes))
        return mask_invalid(answer, valid) | {"class_name": class_name}

    def neighbours(self, embeddings: tf.Tensor, *, k: int) -> dict[str, tf.Tensor]:
        """Finds the `k` entries most similar to each of `[B, D]`, or all where there are fewer.

        Returns:
            ids `[B, k]` int64, labels `[B, k]` int32, and similarities `[B, k]` in -1..1, falling; −1, −1 and 0 to a row of zeros.
        """
        similarities, places = tf.math.top_k(self._similarities(embeddings), tf.minimum(k, tf.size(self.labels)))
        answer = {
            "ids": tf.gather(self.ids, places),
            "labels": tf.gather(self.labels, places),
            "similarities": similarities,
        }
        return mask_invalid(answer, _has_direction(embeddings))

    def _similarities(self, embeddings: tf.Tensor) -> tf.Tensor:
        return tf.matmul(embeddings, self.embeddings, transpose_b=True)  # [B,M]


def class_probabilities(
    similarities: tf.Tensor, labels: tf.Tensor, num_classes: tf.Tensor | int, *, temperature: tf.Tensor | float
) -> tf.Tensor:
    """Lets every remembered image vote for its class, the more similar the more: with weight e^(similarity/temperature).

    Args:
        similarities: `[B, M]`; minus infinity where an entry must not vote.
        labels: `[M]` int32, of the entries.
        num_classes: C.
        temperature: positive; towards 0 only the most similar entry counts.

    Returns:
        `[B, C]` share of the votes.

    Reference: the kernel-weighted form of SemPPL's vote by the nearest labelled embeddings, arXiv 2301.05158.
    """
    weights = tf.transpose(tf.nn.softmax(similarities / temperature))  # [M,B]
    return tf.transpose(tf.math.unsorted_segment_sum(weights, labels, num_classes))


def mask_invalid(answer: dict[str, tf.Tensor], valid: tf.Tensor) -> dict[str, tf.Tensor]:
    """Replaces what was answered to a picture that could not be read: no class, abstain, as strange as can be.

    Args:
        answer: of the signatures' outputs, those that there are.
        valid: `[B]` bool.
    """
    nothing = {
        "label": NO_LABEL,
        "class_name": "",
        "probability": 0.0,
        "abstain": True,
        "distance": tf.float32.max,
        "ood": 100.0,
        "embedding": 0.0,
        "probabilities": 0.0,
        "prediction_set": True,  # it may be any
        "ids": -1,
        "labels": NO_LABEL,
        "similarities": 0.0,
    }
    return {
        name: tf.where(valid[:, tf.newaxis] if values.shape.rank == 2 else valid, values, nothing[name])
        for name, values in answer.items()
    }


def _has_direction(embeddings: tf.Tensor) -> tf.Tensor:
    return tf.reduce_any(embeddings != 0, axis=-1)


def _variable(value: object, dtype: tf.DType, shape: list[int | None]) -> tf.Variable:
    return tf.Variable(tf.constant(value, dtype), trainable=False, shape=tf.TensorShape(shape))
