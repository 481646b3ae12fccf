"""The softmax over a positive and its negatives, for several positives that share the negatives."""

from typing import NamedTuple

import tensorflow as tf


class TwoLevelSoftmax(NamedTuple):
    """A softmax over one positive and M negatives: first "positive or negative", then "which negative".

    The second level does not depend on the positive, so P alternative positives share it.

    Attributes:
        positive_log_odds: `[..., P]` log-odds of each positive against all negatives together.
        negative_log_probabilities: `[..., M]` log-softmax over the negatives alone.
    """

    positive_log_odds: tf.Tensor
    negative_log_probabilities: tf.Tensor


def two_level_softmax(positive_logits: tf.Tensor, negative_logits: tf.Tensor) -> TwoLevelSoftmax:
    """Factors the softmax over each of P positives, one at a time, and the same M negatives.

    Args:
        positive_logits: `[..., P]` similarities of an anchor to its positives, over the
            temperature.
        negative_logits: `[..., M]` similarities of the same anchor to its negatives, over the
            temperature.

    Returns:
        P softmaxes of 1 + M classes in two levels.
    """
    log_sum_negatives = tf.reduce_logsumexp(negative_logits, axis=-1, keepdims=True)
    return TwoLevelSoftmax(positive_logits - log_sum_negatives, negative_logits - log_sum_negatives)
