"""The four terms of SemPPL's loss, over all pairs of views: from embeddings to numbers, without state or randomness."""

from typing import NamedTuple

import tensorflow as tf

from semppl.layers import collectives
from semppl.layers.semantic_positives import SemanticPositives
from semppl.losses.contrastive import candidate_logits, info_nce
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
    own = tf.gather(targets, rows, axis=1)  # [L,B,D]
    # What view l's target network made of the candidates that were drawn for view j.
    others = tf.gather(targets, negatives, axis=1)  # [l,B,j,M,D]
    semantic = tf.gather(queue_embeddings, positives.slots, axis=1)  # [l,B,j,R,D]

    own_similarity = tf.einsum("vbd,lbd->vlb", anchors, own)
    other_similarity = _all_pairs(anchors, others)  # [V,L,B,M]
    semantic_similarity = _all_pairs(anchors, semantic)  # [V,L,B,R]
    contrast = info_nce(own_similarity, other_similarity, temperature=temperature)  # [V,L,B]
    semantic_contrast = info_nce(
        semantic_similarity, _for_each_positive(other_similarity, positives), temperature=temperature
    )  # [V,L,B,R]

    own_swapped = tf.transpose(own_similarity[:num_large], [1, 0, 2])  # [i,j,B]: p_j·t_i
    other_swapped = _swapped_pairs(anchors[:num_large], others)  # [i,j,B,M]: p_j·t_i over the candidates drawn for j
    semantic_swapped = _swapped_pairs(anchors[:num_large], semantic)  # [i,j,B,R]
    agreement = candidate_divergence(
        candidate_logits(own_similarity[:num_large], other_similarity[:num_large], temperature=temperature),
        candidate_logits(own_swapped, other_swapped, temperature=temperature),
    )  # [i,j,B]
    semantic_agreement = candidate_divergence(
        candidate_logits(
            semantic_similarity[:num_large],
            _for_each_positive(other_similarity[:num_large], positives),
            temperature=temperature,
        ),
        candidate_logits(semantic_swapped, _for_each_positive(other_swapped, positives), temperature=temperature),
    )  # [i,j,B,R]

    everyone = tf.ones_like(positives.present)
    if positives.slots.shape[-1] == 0:  # the loop without semantic positives
        positives = positives._replace(present=tf.zeros_like(positives.present))
    return Terms(
        _mean(contrast, everyone),
        _mean(tf.reduce_mean(semantic_contrast, -1), positives.present),
        _mean_of_distinct_views(agreement, everyone),
        _mean_of_distinct_views(tf.reduce_mean(semantic_agreement, -1), positives.present),
    )


def _all_pairs(anchors: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """p_v · t_l over the candidates drawn for l: `[V, B, D]` and `[l, B, j, C, D]` give `[V, L, B, C]`."""
    drawn_for_itself = tf.stack([candidates[view, :, view] for view in range(candidates.shape[0])])  # [L,B,C,D]
    return tf.einsum("vbd,lbcd->vlbc", anchors, drawn_for_itself)


def _swapped_pairs(anchors: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """p_j · t_i over the candidates drawn for j: `[j, B, D]` and `[i, B, j, C, D]` give `[i, j, B, C]`."""
    return tf.einsum("jbd,ibjcd->ijbc", anchors, candidates)


def _for_each_positive(others: tf.Tensor, positives: SemanticPositives) -> tf.Tensor:
    """Repeats the negatives for each semantic positive: `[..., M]` gives `[..., R, M]`."""
    num_positives = positives.slots.shape[-1]
    return tf.repeat(others[..., tf.newaxis, :], num_positives, axis=-2)


def _mean(values: tf.Tensor, included: tf.Tensor) -> tf.Tensor:
    """This replica's share of the mean over pairs of the mean over the included images of the global batch.

    Args:
        values: `[i, j, B]`.
        included: `[B]` bool.

    Returns:
        Scalar; 0 where no image of the global batch is included.
    """
    count = collectives.all_reduce_sum(tf.reduce_sum(tf.cast(included, values.dtype)))
    total = tf.reduce_sum(tf.where(included, tf.reduce_mean(values, [0, 1]), 0))
    return tf.math.divide_no_nan(total, count)


def _mean_of_distinct_views(values: tf.Tensor, included: tf.Tensor) -> tf.Tensor:
    """The same over pairs of distinct views only; 0 where there is but one view."""
    num_views = values.shape[0]
    if num_views == 1:
        return tf.zeros([], values.dtype)
    distinct = 1 - tf.eye(num_views, dtype=values.dtype)[..., tf.newaxis]
    return _mean(values * distinct, included) * num_views / (num_views - 1)
