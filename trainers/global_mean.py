"""The objective's mean over the global batch, of which every replica holds a share."""

import tensorflow as tf

from semppl.layers import collectives
from semppl.losses.objective import Terms


def mean_terms(per_image: Terms, present: tf.Tensor) -> Terms:
    """Computes this replica's share of each term's mean over the global batch.

    Args:
        per_image: `[B]` values of each term, of this replica's images.
        present: `[B]` bool, which images have semantic positives; the means of the semantic terms
            are over them alone.

    Returns:
        Scalars. The shares of all replicas add up to the means, and their gradients to the means'
        gradients.
    """
    every_image = tf.ones_like(present)
    return Terms(
        global_mean(per_image.contrastive_augmentation, every_image),
        global_mean(per_image.contrastive_semantic, present),
        global_mean(per_image.invariance_augmentation, every_image),
        global_mean(per_image.invariance_semantic, present),
    )


def global_mean(values: tf.Tensor, included: tf.Tensor) -> tf.Tensor:
    """Computes this replica's share of the mean over the included images of the global batch.

    Args:
        values: `[B]` values of this replica's images.
        included: `[B]` bool, which of the images the mean is over.

    Returns:
        Scalar; 0 where no image of the global batch is included.
    """
    count = collectives.all_reduce_sum(tf.reduce_sum(tf.cast(included, values.dtype)))
    total = tf.reduce_sum(tf.where(included, values, 0))
    return tf.math.divide_no_nan(total, count)
