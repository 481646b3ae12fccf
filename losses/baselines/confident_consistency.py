"""FixMatch's consistency loss on unlabelled images, and FreeMatch's self-adaptive fairness loss."""

import tensorflow as tf

_EPSILON = 1e-12  # keeps the logarithm of a class without predictions finite


def confident_consistency(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Computes the cross-entropy of pseudo-labels and predictions, in nats; 0 for an image without a pseudo-label.

    Args:
        logits: `[B, C]` logits of strongly augmented views.
        classes: `[B]` int32 pseudo-labels; negative for an image without one.

    Returns:
        `[B]`, unreduced.

    Reference: Sohn et al. 2020, arXiv 2001.07685, eq. 4.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(classes, 0), logits)
    return tf.where(classes >= 0, losses, 0)


def class_fairness(
    mean: tf.Tensor, shares: tf.Tensor, *, expected_mean: tf.Tensor, expected_shares: tf.Tensor
) -> tf.Tensor:
    """Computes −H(n(p̃/h̃), n(p̄/h̄)), where n divides by the sum over classes; smallest where no class is neglected.

    Args:
        mean: `[C]` p̄, mean prediction for the strongly augmented views with a pseudo-label; the only argument with gradient.
        shares: `[C]` h̄, share of these views by predicted class. A class with a share of 0 counts as if p̄ were 0.
        expected_mean: `[C]` p̃, moving average of the predictions for weakly augmented views.
        expected_shares: `[C]` h̃, moving average of the shares by predicted class.

    Returns:
        Scalar, in nats; 0 or less.

    Reference: Wang et al. 2023, arXiv 2205.07246, eq. 11 and 12.
    """
    expected = _balanced(tf.stop_gradient(expected_mean), tf.stop_gradient(expected_shares))
    return tf.reduce_sum(expected * tf.math.log(_balanced(mean, tf.stop_gradient(shares)) + _EPSILON))


def _balanced(mean: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Returns n(mean/shares): `[C]`; zeros where all shares are 0."""
    ratio = tf.math.divide_no_nan(mean, shares)
    return tf.math.divide_no_nan(ratio, tf.reduce_sum(ratio))
