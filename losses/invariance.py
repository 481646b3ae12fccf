"""The invariance term: two views of an image should rank the same candidates alike."""

import tensorflow as tf

from semppl.losses.two_level_softmax import TwoLevelSoftmax


def invariance(teacher: TwoLevelSoftmax, student: TwoLevelSoftmax, *, stop_teacher: bool = True) -> tf.Tensor:
    """Computes KL(teacher ‖ student) over a positive and its negatives, in nats; by default, the teacher is held constant.

    By the chain rule, with p and q the teacher's and the student's probability of the positive and
    P and Q their distributions over the negatives:
    p·log(p/q) + (1 − p)·(log((1 − p)/(1 − q)) + KL(P ‖ Q)).

    Args:
        teacher: P softmaxes of one view over its candidates.
        student: P softmaxes of another view over the same candidates.
        stop_teacher: Whether no gradient flows into the teacher. Default True.

    Returns:
        `[..., P]` divergence for each positive, unreduced; 0 or more up to rounding, 0 where both
        agree.

    Reference: ReLIC, arXiv 2010.07922, eq. 4, in the stop-gradient form of
    docs/reference/method.md.
    """
    if stop_teacher:
        teacher = tf.nest.map_structure(tf.stop_gradient, teacher)
    p_log_odds, q_log_odds = teacher.positive_log_odds, student.positive_log_odds
    log_ratio_positive = tf.math.log_sigmoid(p_log_odds) - tf.math.log_sigmoid(q_log_odds)
    log_ratio_negative = tf.math.log_sigmoid(-p_log_odds) - tf.math.log_sigmoid(-q_log_odds)
    which_negative = _divergence(teacher.negative_log_probabilities, student.negative_log_probabilities)
    return tf.sigmoid(p_log_odds) * log_ratio_positive + tf.sigmoid(-p_log_odds) * (log_ratio_negative + which_negative)


def _divergence(log_p: tf.Tensor, log_q: tf.Tensor) -> tf.Tensor:
    """Returns KL(p ‖ q) of log-probabilities `[..., M]`: `[..., 1]`."""
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1, keepdims=True)
