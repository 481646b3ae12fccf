"""The four terms of SemPPL's loss, and those of ReLIC's, over all pairs of views, one value per image."""

from typing import NamedTuple

import tensorflow as tf

from semppl.losses.info_nce import cross_entropy_of_positives
from semppl.losses.invariance import invariance
from semppl.losses.masking import without
from semppl.losses.two_level_softmax import TwoLevelSoftmax, two_level_softmax
from semppl.losses.view_pairs import mean_over_distinct_pairs, mean_over_pairs


class Terms(NamedTuple):
    """The four terms of the objective, in nats: `[B]` per image, or scalars once they are averaged.

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


class AugmentationTerms(NamedTuple):
    """The terms of the objective that need no label, in nats: `[B]` per image, or scalars once they are averaged.

    Attributes:
        contrastive_augmentation: L_AUGM.
        invariance_augmentation: I_AUGM.
    """

    contrastive_augmentation: tf.Tensor
    invariance_augmentation: tf.Tensor


def terms(
    anchors: tf.Tensor,
    targets: tf.Tensor,
    queue_embeddings: tf.Tensor,
    *,
    rows: tf.Tensor,
    negatives: tf.Tensor,
    slots: tf.Tensor,
    present: tf.Tensor,
    temperature: float,
    stop_teacher: bool = True,
) -> Terms:
    """Computes the four terms of each image, averaged over the image's pairs of views.

    Args:
        anchors: `[V, B, D]` unit-norm online predictions, the L large views first; the only
            argument with gradient.
        targets: `[L, N, D]` unit-norm target projections of the global batch.
        queue_embeddings: `[L, Q, D]` unit-norm target projections; a slot holds the same image in
            each queue.
        rows: `[B]` int32 positions of the images in the global batch.
        negatives: `[B, L, M]` int32 positions of each image's negatives in the global batch.
        slots: `[B, L, R]` int32 queue slots of each image's semantic positives.
        present: `[B]` bool, False where an image has no semantic positive.
        temperature: Divisor of every similarity; positive.
        stop_teacher: Whether no gradient flows into the first distribution of the invariance terms. Default True.

    Returns:
        `[B]` values per term, unreduced; semantic terms are 0 where `present` is False, the
        invariance is 0 if L is 1.

    Reference: SemPPL, arXiv 2301.05158; the invariance in the stop-gradient form of
    docs/reference/method.md.
    """
    targets, queue_embeddings = tf.stop_gradient(targets), tf.stop_gradient(queue_embeddings)
    num_large = targets.shape[0]
    predictions = tf.transpose(anchors, [1, 0, 2])  # [B,V,D]
    large = predictions[:, :num_large]
    candidates = _candidates(rows, negatives)  # [B,L,1+M]

    contrast, divergence = _compare(
        _softmax(  # [B,V,L,…]: p_i against t_j of the candidates sampled for j
            _similarities(predictions, targets, candidates),
            _similarities(predictions, queue_embeddings, slots),
            temperature,
        ),
        _softmax(  # [B,j,i,…]: p_j against t_i of the candidates sampled for j
            _swapped_similarities(large, targets, candidates),
            _swapped_similarities(large, queue_embeddings, slots),
            temperature,
        ),
        stop_teacher=stop_teacher,
    )
    return Terms(
        mean_over_pairs(contrast[..., 0]),
        tf.where(present, mean_over_pairs(tf.reduce_mean(contrast[..., 1:], axis=-1)), 0),
        mean_over_distinct_pairs(divergence[..., 0]),
        tf.where(present, mean_over_distinct_pairs(tf.reduce_mean(divergence[..., 1:], axis=-1)), 0),
    )


def augmentation_terms(
    anchors: tf.Tensor,
    targets: tf.Tensor,
    *,
    rows: tf.Tensor,
    negatives: tf.Tensor | None = None,
    same: tf.Tensor | None = None,
    temperature: float,
) -> AugmentationTerms:
    """Computes the two terms of each image that need no label, averaged over the image's pairs of views.

    Args:
        anchors: `[V, B, D]` unit-norm online predictions, the L large views first; the only
            argument with gradient.
        targets: `[L, N, D]` unit-norm target projections of the global batch.
        rows: `[B]` int32 positions of the images in the global batch.
        negatives: `[B, L, M]` int32 positions of each image's negatives in the global batch.
            Default: all other images.
        same: `[B, N]` bool, true where a row of the global batch shows the same image: the image's own row and repetitions, which
            are not negatives. Used if `negatives` is None. Default: the image's own row only.
        temperature: Divisor of every similarity; positive.

    Returns:
        `[B]` values per term, unreduced, equal to those of `terms`; the invariance is 0 if L is 1.

    Reference: ReLIC, arXiv 2010.07922, eq. 3, with all other images; ReLICv2, arXiv 2201.05119,
    eq. 2, with sampled ones.
    """
    targets = tf.stop_gradient(targets)
    num_large = targets.shape[0]
    predictions = tf.transpose(anchors, [1, 0, 2])  # [B,V,D]
    if negatives is None:
        softmax = _softmax(_similarities_with_all(predictions, targets, rows, same), None, temperature)
        student = TwoLevelSoftmax(*(level[:, :num_large] for level in softmax))  # all pairs have the same candidates
    else:
        candidates = _candidates(rows, negatives)  # [B,L,1+M]
        softmax = _softmax(_similarities(predictions, targets, candidates), None, temperature)
        swapped = _swapped_similarities(predictions[:, :num_large], targets, candidates)
        student = _softmax(swapped, None, temperature)
    contrast, divergence = _compare(softmax, student)
    return AugmentationTerms(mean_over_pairs(contrast[..., 0]), mean_over_distinct_pairs(divergence[..., 0]))


def _compare(
    softmax: TwoLevelSoftmax, student: TwoLevelSoftmax, *, stop_teacher: bool = True
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the losses of each pair of views and each of P positives.

    Args:
        softmax: `[B, V, L, ...]`: p_i against t_j of the candidates for j.
        student: `[B, j, i, ...]`: p_j against t_i of the candidates for j.
        stop_teacher: See `terms`.

    Returns:
        Contrast `[B, V, L, P]` and divergence `[B, j, i, P]`.
    """
    num_large = student.positive_log_odds.shape[1]
    teacher = TwoLevelSoftmax(*(tf.transpose(level[:, :num_large], [0, 2, 1, 3]) for level in softmax))  # [B,j,i,…]
    return cross_entropy_of_positives(softmax), invariance(teacher, student, stop_teacher=stop_teacher)


def _candidates(rows: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
    """Puts each image in front of its negatives: `[B]` and `[B, L, M]` positions give `[B, L, 1 + M]`."""
    images = tf.broadcast_to(rows[:, tf.newaxis, tf.newaxis], [*negatives.shape[:2], 1])
    return tf.concat([images, negatives], axis=-1)


def _softmax(candidates: tf.Tensor, semantic_positives: tf.Tensor | None, temperature: float) -> TwoLevelSoftmax:
    """Contrasts image and semantic positives with the negatives: `[..., 1 + M]` and `[..., R]` similarities."""
    positives, negatives = candidates[..., :1], candidates[..., 1:]
    if semantic_positives is not None:
        positives = tf.concat([positives, semantic_positives], axis=-1)
    return two_level_softmax(positives / temperature, negatives / temperature)


def _similarities(predictions: tf.Tensor, embeddings: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Compares p_v with t_l of the rows sampled for l.

    Args:
        predictions: `[B, V, D]`.
        embeddings: `[L, n, D]`.
        indices: `[B, L, C]` rows of the embeddings.

    Returns:
        `[B, V, L, C]` similarities.
    """
    batch, num_views, num_candidates = indices.shape
    flat = tf.reshape(_flat_indices(indices, embeddings), [batch, num_views * num_candidates])
    sampled = tf.gather(_flat(embeddings), flat)  # [B,L·C,D]
    similarities = tf.matmul(predictions, sampled, transpose_b=True)  # [B,V,L·C]
    return tf.reshape(similarities, [batch, predictions.shape[1], num_views, num_candidates])


def _similarities_with_all(
    predictions: tf.Tensor, embeddings: tf.Tensor, rows: tf.Tensor, same: tf.Tensor | None
) -> tf.Tensor:
    """Compares p_v with t_l of all rows, those of `rows` first, repetitions masked: `[B, V, L, N]`; see `_similarities`."""
    num_views, num_rows = embeddings.shape[:2]
    similarities = tf.matmul(predictions, _flat(embeddings)[tf.newaxis], transpose_b=True)  # [B,V,L·N]
    similarities = tf.reshape(similarities, [-1, predictions.shape[1], num_views, num_rows])
    order = (rows[:, tf.newaxis] + tf.range(num_rows)) % num_rows  # [B,N]
    similarities = tf.gather(similarities, order, axis=3, batch_dims=1)
    if same is None:
        return similarities
    repeated = tf.gather(same, order, axis=1, batch_dims=1) & (tf.range(num_rows) > 0)  # [B,N]
    return without(similarities, repeated[:, tf.newaxis, tf.newaxis])


def _swapped_similarities(predictions: tf.Tensor, embeddings: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Compares p_j with t_i of the rows sampled for j; see `_similarities`: `[B, j, i, C]`, i and j in L."""
    batch, num_views, num_candidates = indices.shape
    flat = _flat_indices(indices[:, :, tf.newaxis], embeddings)  # [B,j,i,C]
    sampled = tf.gather(_flat(embeddings), tf.reshape(flat, [batch, num_views, -1]))  # [B,j,i·C,D]
    similarities = tf.matmul(predictions[:, :, tf.newaxis], sampled, transpose_b=True)  # [B,j,1,i·C]
    return tf.reshape(similarities, [batch, num_views, num_views, num_candidates])


def _flat(embeddings: tf.Tensor) -> tf.Tensor:
    """Stacks the rows of all views: `[L, n, D]` gives `[L·n, D]`."""
    return tf.reshape(embeddings, [-1, embeddings.shape[-1]])


def _flat_indices(indices: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
    """Maps rows `[..., L or 1, C]` of each view to rows of `_flat(embeddings)`: `[..., L, C]`."""
    num_views, num_rows = embeddings.shape[:2]
    return indices + num_rows * tf.range(num_views)[:, tf.newaxis]
