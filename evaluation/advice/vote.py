"""The vote of the labelled pictures nearest to a picture, as probabilities of the classes."""

from typing import NamedTuple

import numpy as np

from semppl.evaluation.neighbours.nearest_neighbours import nearest, weighted_shares

_VOTERS = 20


class Ballot(NamedTuple):
    """The outcome of a vote on n pictures.

    Attributes:
        shares: `[n, C]` share of the votes of each class; rows add up to 1.
        voters: Integers `[n, k]`, rows of the memory that voted, the most similar first.
        similarities: `[n, k]` cosine similarities of the voters.
    """

    shares: np.ndarray
    voters: np.ndarray
    similarities: np.ndarray


def vote(
    queries: np.ndarray, memory: np.ndarray, classes: np.ndarray, num_classes: int, *, own: np.ndarray | None = None
) -> Ballot:
    """Lets the 20 nearest labelled pictures vote, each with the weight exp(similarity / 0.1).

    Args:
        queries: `[n, D]` features of unit norm.
        memory: `[m, D]` features of unit norm of the labelled pictures; m ≥ 1, or 2 with `own`.
        classes: Integers `[m]` in 0..C - 1, classes of the memory.
        num_classes: C.
        own: Integers `[n]`, the row of the memory that is the query itself, which does not vote; None: none.

    Returns:
        The outcome, of fewer voters if the memory has fewer.
    """
    size = min(_VOTERS, len(memory) - (own is not None))
    similarities, voters = nearest(queries, memory, size, own=own)
    return Ballot(weighted_shares(similarities, classes[voters], num_classes), voters, similarities)


def label_margins(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Computes the normalised margin of the labels: (p[label] - max p[others] + 1) / 2, in 0..1.

    Args:
        probabilities: `[n, C]`, C ≥ 2.
        classes: Integers `[n]` in 0..C - 1, the labels.

    Returns:
        `[n]`: below 0.5 where another class is likelier than the label.

    Reference: Northcutt et al. 2021, Confident Learning, arXiv 1911.00068, section 4.3; cleanlab's `normalized_margin`.
    """
    rows = np.arange(len(classes))
    others = np.array(probabilities, np.float64)
    others[rows, classes] = -np.inf
    margins: np.ndarray = (probabilities[rows, classes] - others.max(1) + 1) / 2
    return margins
