"""The invariance term: two views of an image must tell the same candidates apart in the same way."""

import tensorflow as tf


def candidate_divergence(teacher_logits: tf.Tensor, student_logits: tf.Tensor) -> tf.Tensor:
    """Measures KL(stop_gradient(teacher) ‖ student) over candidates, in nats.

    Args:
        teacher_logits: `[..., C]` similarities over temperature of one view to C candidates; no gradient flows here.
        student_logits: `[..., C]` the same of the other view to the same candidates.

    Returns:
        `[...]` divergence, unreduced; 0 or more, 0 where both distributions agree.

    Reference: ReLIC, arXiv 2010.07922, eq. 4, in the stop-gradient form of docs/method.md.
    """
    teacher = tf.stop_gradient(tf.nn.log_softmax(teacher_logits))
    student = tf.nn.log_softmax(student_logits)
    return tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
