"""The invariance term: two views of an image must tell the same candidates apart in the same way."""

import tensorflow as tf

from semppl.losses.contrastive import Candidates


def candidate_divergence(teacher: Candidates, student: Candidates) -> tf.Tensor:
    """Measures KL(stop_gradient(teacher) ‖ student) over a positive and the negatives, in nats.

    By the chain rule: the divergence of "the positive or a negative", and, where the teacher says a negative, of which.

    Args:
        teacher: odds `[..., P]` and shares `[..., M]` of one view over its candidates; no gradient flows here.
        student: the same of the other view over the same candidates.

    Returns:
        `[..., P]` divergence for each positive, unreduced; 0 or more up to rounding, 0 where both distributions agree.

    Reference: ReLIC, arXiv 2010.07922, eq. 4, in the stop-gradient form of docs/method.md.
    """
    teacher = tf.nest.map_structure(tf.stop_gradient, teacher)
    positive = tf.sigmoid(teacher.odds) * (tf.nn.softplus(-student.odds) - tf.nn.softplus(-teacher.odds))
    which = tf.reduce_sum(tf.exp(teacher.shares) * (teacher.shares - student.shares), axis=-1, keepdims=True)
    negative = tf.sigmoid(-teacher.odds) * (tf.nn.softplus(student.odds) - tf.nn.softplus(teacher.odds) + which)
    return positive + negative
