"""NT-Xent, SimCLR's loss: each view's positive against all views of other images; and its debiased form."""

import math

import numpy as np
import tensorflow as tf

from semppl.losses.masking import without
from semppl.losses.view_pairs import mean_over_distinct_pairs


def nt_xent(
    anchors: tf.Tensor, everyone: tf.Tensor, *, same: tf.Tensor, temperature: float, class_prior: float = 0.0
) -> tf.Tensor:
    """Scores each other view of an image against all views of other images, in nats.

    −log(e^{p/τ} / (e^{p/τ} + Σ e^{n/τ})) for two views is SimCLR's loss. With more, the other positives of an image are left
    out of the denominator, as in InfoNCE with one positive at a time.

    With a class prior τ⁺, the sum over the M negatives is replaced by M·g, an estimate over images of other classes:
    g = max((mean e^{n/τ} − τ⁺·e^{p/τ}) / (1 − τ⁺), e^{−1/τ}).

    Args:
        anchors: `[V, B, D]` unit-norm embeddings of this replica's images.
        everyone: `[V, N, D]` unit-norm embeddings of the global batch.
        same: `[B, N]` bool, true where a row of the global batch shows the same image: the image's own row and repetitions, which
            are not negatives.
        temperature: Divisor of every similarity; positive.
        class_prior: τ⁺, the probability in 0..1 that another image has the anchor's class. Default 0, which corrects nothing.

    Returns:
        `[B]` mean over the V·(V − 1) pairs of views of each image, unreduced over images.

    Reference: Chen et al. 2020, arXiv 2002.05709, eq. 1; Chuang et al. 2020, arXiv 2007.00224, eq. 7 and 8.
    """
    positives = tf.einsum("vbd,wbd->bvw", anchors, anchors) / temperature
    losses = _contrast(positives, anchors, everyone, same, temperature=temperature, class_prior=class_prior)
    return mean_over_distinct_pairs(losses)


def semantic_nt_xent(
    anchors: tf.Tensor,
    everyone: tf.Tensor,
    entries: tf.Tensor,
    *,
    same: tf.Tensor,
    temperature: float,
    class_prior: float = 0.0,
) -> tf.Tensor:
    """Scores each semantic positive of a view against all views of other images, in nats, as `nt_xent` scores other views.

    Args:
        anchors: `[V, B, D]` unit-norm embeddings of this replica's images.
        everyone: `[V, N, D]` unit-norm embeddings of the global batch.
        entries: `[B, L, R, D]` unit-norm embeddings of each image's semantic positives, R for each of L queues; without
            gradient.
        same: `[B, N]` bool, true where a row of the global batch is not a negative; see `nt_xent`.
        temperature: Divisor of every similarity; positive.
        class_prior: τ⁺; see `nt_xent`. Default 0.

    Returns:
        `[B]` mean over views and positives of each image, unreduced over images.

    Reference: docs/reference/method.md.
    """
    positives = tf.einsum("vbd,blrd->bvlr", anchors, tf.stop_gradient(entries)) / temperature
    positives = tf.reshape(positives, [positives.shape[0], positives.shape[1], -1])  # [B,V,L·R]
    losses = _contrast(positives, anchors, everyone, same, temperature=temperature, class_prior=class_prior)
    return tf.reduce_mean(losses, axis=[1, 2])


def _contrast(
    positives: tf.Tensor,
    anchors: tf.Tensor,
    everyone: tf.Tensor,
    same: tf.Tensor,
    *,
    temperature: float,
    class_prior: float,
) -> tf.Tensor:
    """Returns the loss of each positive, `[B, V, P]`, from their logits of that shape."""
    similarities = tf.einsum("vbd,wnd->bvwn", anchors, everyone) / temperature
    others = without(similarities, same[:, tf.newaxis, tf.newaxis])
    negatives = tf.reduce_logsumexp(others, axis=[2, 3])[..., tf.newaxis]  # [B,V,1]
    if class_prior:
        count = anchors.shape[0] * tf.reduce_sum(tf.cast(~same, similarities.dtype), axis=1)[:, tf.newaxis, tf.newaxis]
        negatives = _debiased(negatives, positives, count=count, temperature=temperature, class_prior=class_prior)
    return tf.nn.softplus(negatives - positives)


def _debiased(
    negatives: tf.Tensor, positives: tf.Tensor, *, count: tf.Tensor, temperature: float, class_prior: float
) -> tf.Tensor:
    """Returns log(M·g) from the log-sum over M negatives `[B, V, 1]`, M `[B, 1, 1]`, and the logits of positives `[B, V, P]`."""
    most = 1 / temperature  # of any logit: exponentials of differences from it are 1 or less
    mean = tf.math.divide_no_nan(tf.exp(negatives - most), count)
    estimate = (mean - class_prior * tf.exp(positives - most)) / (1 - class_prior)
    least = max(math.exp(-2 * most), float(np.finfo(estimate.dtype.as_numpy_dtype).tiny))
    return tf.math.log(count * tf.maximum(estimate, least)) + most
