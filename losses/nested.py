"""Matryoshka representation learning: a loss of whole embeddings and of their prefixes."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import tensorflow as tf

_Losses = TypeVar("_Losses")


def sum_over_prefixes(loss: Callable[..., _Losses], embeddings: Sequence[tf.Tensor], widths: Sequence[int]) -> _Losses:
    """Adds a loss of whole embeddings and the same loss of their prefixes, each prefix scaled to unit norm.

    Args:
        loss: Function from the embeddings, one argument each, to losses of shape `[B]` or a NamedTuple of such.
        embeddings: Unit-norm embeddings `[..., D]`, all of the same width D.
        widths: Widths of the prefixes, increasing, in 1..D; a width of D adds nothing, since whole embeddings always count once.

    Returns:
        The sum, of the structure that `loss` returns; without widths, `loss` of the given embeddings.

    Reference: Kusupati et al. 2022, arXiv 2205.13147, eq. 1, with all weights 1.
    """
    whole = embeddings[0].shape[-1]
    losses = [loss(*embeddings)]
    losses += [loss(*(prefix(rows, width) for rows in embeddings)) for width in widths if width < whole]
    if len(losses) == 1:
        return losses[0]
    total: _Losses = tf.nest.map_structure(lambda *terms: tf.add_n(terms), *losses)
    return total


def prefix(embeddings: tf.Tensor, width: int) -> tf.Tensor:
    """Returns the first dimensions of embeddings `[..., D]`, scaled to unit norm: `[..., width]`; zeros stay zeros."""
    return tf.math.l2_normalize(embeddings[..., :width], axis=-1, epsilon=1e-12)
