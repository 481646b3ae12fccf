"""The four terms of SemPPL's loss, over all pairs of views: from embeddings to numbers, without state or randomness."""

from typing import NamedTuple

import tensorflow as tf

from semppl.layers import collectives
from semppl.layers.semantic_positives import SemanticPositives
from semppl.losses.contrastive import Candidates, candidates, info_nce
from semppl.losses.invariance import candidate_divergence


class Terms(NamedTuple):
    """This replica's share of each term's mean over the global batch; the sum over replicas is the term, in nats.

    Attributes:
        contrastive_augmentation: L_AUGM.
        contrastive_semantic: L_SEMPOS.
        invariance_augmentation: I_AUGM.
        invariance_semantic: I_SEMPOS.
    """

    contrastive_augmentation: tf.Tensor
    contrastive_semantic: tf.Tensor
    invariance_augmentation: tf.Tensor
    invariance_semantic: tf.Tensor


def terms(
    anchors: tf.Tensor,
    rows: tf.Tensor,
    targets: tf.Tensor,
    negatives: tf.Tensor,
    queue_embeddings: tf.Tensor,
    positives: SemanticPositives,
    *,
    temperature: float,
) -> Terms:
    """Computes all four terms.

    Args:
        anchors: `[V, B, D]` unit-norm online predictions, the L large views first; the only argument with gradient.
        rows: `[B]` int32, where this replica's images stand in the global batch.
        targets: `[L, N, D]` unit-norm target projections of the global batch.
        negatives: `[B, L, M]` int32 rows of the global batch.
        queue_embeddings: `[L, Q, D]` unit-norm, a slot holds the same image in each queue.
        positives: slots `[B, L, R]` and where there are any.
        temperature: τ.

    Returns:
        The terms. Where no image has a class in the queue, the semantic terms are 0.

    Reference: SemPPL, arXiv 2301.05158; the invariance in the stop-gradient form of docs/method.md.
    """
    targets, queue_embeddings = tf.stop_gradient(targets), tf.stop_gradient(queue_embeddings)
    num_large = targets.shape[0]
    own = tf.broadcast_to(rows[:, tf.newaxis, tf.newaxis], [*negatives.shape[:2], 1])
    images = tf.concat([own, negatives], axis=-1)  # [B,L,1+M], of the global batch
    predictions = tf.transpose(anchors, [1, 0, 2])  # [B,V,D]
    large = predictions[:, :num_large]

    scored = _scored(  # [B,V,L,…]: p_i against t_j of the candidates drawn for j
        _similarities(predictions, targets, images),
        _similarities(predictions, queue_embeddings, positives.slots),
        temperature,
    )
    swapped = _scored(  # [B,j,i,…]: p_j against t_i of the candidates drawn for j
        _swapped_similarities(large, targets, images),
        _swapped_similarities(large, queue_embeddings, positives.slots),
        temperature,
    )
    teacher = Candidates(*(tf.transpose(part[:, :num_large], [0, 2, 1, 3]) for part in scored))  # [B,j,i,…]
    contrast = info_nce(scored)  # [B,V,L,1+R]
    divergence = candidate_divergence(teacher, swapped)  # [B,j,i,1+R]

    everyone = tf.ones_like(positives.present)
    return Terms(
        _mean(contrast[..., 0], everyone),
        _mean(tf.reduce_mean(contrast[..., 1:], axis=-1), positives.present),
        _mean_of_distinct_views(divergence[..., 0], everyone),
        _mean_of_distinct_views(tf.reduce_mean(divergence[..., 1:], axis=-1), positives.present),
    )


def _similarities(predictions: tf.Tensor, embeddings: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """p_v · t_l of the rows drawn for l: `[B, V, D]`, `[L, n, D]` and `[B, L, C]` give `[B, V, L, C]`."""
    batch, num_views, num_drawn = places.shape
    rows = tf.reshape(_flat_places(places, embeddings), [batch, num_views * num_drawn])
    drawn = tf.gather(_flat(embeddings), rows)  # [B,L·C,D]
    products = tf.matmul(predictions, drawn, transpose_b=True)  # [B,V,L·C]
    return tf.reshape(products, [batch, predictions.shape[1], num_views, num_drawn])


def _swapped_similarities(predictions: tf.Tensor, embeddings: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """p_j · t_i of the rows drawn for j: `[B, L, D]`, `[L, n, D]` and `[B, L, C]` give `[B, j, i, C]`."""
    batch, num_views, num_drawn = places.shape
    rows = _flat_places(places[:, :, tf.newaxis], embeddings)  # [B,j,i,C]
    drawn = tf.gather(_flat(embeddings), tf.reshape(rows, [batch, num_views, num_views * num_drawn]))  # [B,j,i·C,D]
    products = tf.matmul(predictions[:, :, tf.newaxis], drawn, transpose_b=True)  # [B,j,1,i·C]
    return tf.reshape(products, [batch, num_views, num_views, num_drawn])


def _flat(embeddings: tf.Tensor) -> tf.Tensor:
    """Stacks the rows of all views: `[L, n, D]` gives `[L·n, D]`."""
    return tf.reshape(embeddings, [-1, embeddings.shape[-1]])


def _flat_places(places: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
    """Says where rows `[..., L or 1, C]` of each view stand among the stacked rows of all views: `[..., L, C]`."""
    num_views, num_rows = embeddings.shape[:2]
    return places + num_rows * tf.range(num_views)[:, tf.newaxis]


def _scored(of_images: tf.Tensor, of_semantic: tf.Tensor, temperature: float) -> Candidates:
    """Sets the image itself and its R semantic positives among its negatives: `[..., 1 + M]` and `[..., R]` similarities."""
    positives = tf.concat([of_images[..., :1], of_semantic], axis=-1)
    return candidates(positives, of_images[..., 1:], temperature=temperature)


def _mean(values: tf.Tensor, included: tf.Tensor) -> tf.Tensor:
    """This replica's share of the mean over pairs of the mean over the included images of the global batch.

    Args:
        values: `[B, i, j]`.
        included: `[B]` bool.

    Returns:
        Scalar; 0 where no image of the global batch is included.
    """
    count = collectives.all_reduce_sum(tf.reduce_sum(tf.cast(included, values.dtype)))
    total = tf.reduce_sum(tf.where(included, tf.reduce_mean(values, [1, 2]), 0))
    return tf.math.divide_no_nan(total, count)


def _mean_of_distinct_views(values: tf.Tensor, included: tf.Tensor) -> tf.Tensor:
    """The same over pairs of distinct views only; 0 where there is but one view."""
    num_views = values.shape[1]
    if num_views == 1:
        return tf.zeros([], values.dtype)
    distinct = 1 - tf.eye(num_views, dtype=values.dtype)
    return _mean(values * distinct, included) * num_views / (num_views - 1)
