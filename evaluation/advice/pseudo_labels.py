"""Labels for the pictures without one: by a vote of labelled pictures, or by label spreading."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from scipy import optimize
from scipy.sparse import csr_matrix

from semppl.data.images import NO_LABEL
from semppl.evaluation.advice.vote import Ballot, vote
from semppl.evaluation.logistic_regression import held_out_parts
from semppl.evaluation.neighbours.directions import unit
from semppl.evaluation.neighbours.label_spreading import neighbour_graphs, spread_shares

VOTE, LABEL_SPREADING = "vote", "label_spreading"

_MOST_SPREAD = 50_000  # pictures
_FLOOR = 1e-6  # of a probability
_COLDEST, _WARMEST = 0.05, 20.0


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """Labels for u pictures without one.

    Attributes:
        rows: Integers `[u]`, rows of the pictures, rising.
        labels: Integers `[u]`.
        probabilities: `[u]` calibrated probabilities of the labels, in 0..1.
        ballot: Vote of the labelled pictures; its voters are positions in `known`, its classes those of `classes`.
        known: Integers `[m]`, rows of the labelled pictures, rising.
        classes: Integers `[C]`, labels that occur, rising.
        method: "vote" or "label_spreading".
        held_out: Accuracy on held-out labelled pictures by method; empty if none could be held out.
        judged: `[h]` probabilities of held-out labelled pictures by the method that was chosen.
        right: bool `[h]`, whether their labels were right.
    """

    rows: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    ballot: Ballot
    known: np.ndarray
    classes: np.ndarray
    method: str
    held_out: dict[str, float]
    judged: np.ndarray
    right: np.ndarray


def label_rows(
    features: np.ndarray,
    labels: np.ndarray,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    seed: int = 0,
) -> PseudoLabels:
    """Labels the pictures without a label.

    Label spreading is used if it gives more held-out pictures their label than the vote does; the number of neighbours of its
    graph is chosen on the same pictures. Of more than 50,000 pictures, the vote is used. Probabilities are the shares of the
    classes to the power 1 / T; T maximises the likelihood of the held-out labels, and is 1 if there is none.

    Args:
        features: `[n, D]` features of any norm.
        labels: Integers `[n]`, of at least two classes; NO_LABEL where unknown.
        held_out: Features `[h, D]` and labels `[h]` of pictures to judge by, which the features were not trained on; those of
            other classes are left out. None: the labelled pictures in turn, in the folds of `held_out_parts`.
        seed: Seed of the folds.
    """
    rows, known = np.flatnonzero(labels == NO_LABEL), np.flatnonzero(labels != NO_LABEL)
    classes, own = np.unique(labels[known], return_inverse=True)
    parts = [(known[t], known[h], own[h]) for t, h in held_out_parts(own, seed)]
    if held_out is not None:
        judges, truth = held_out
        kept = np.isin(truth, classes)
        place = np.arange(len(labels), len(labels) + int(kept.sum()))
        parts = [(known, place, np.searchsorted(classes, truth[kept]))] if len(place) else []
        features = np.concatenate([features, judges[kept]])
        labels = np.concatenate([labels, np.full(len(place), NO_LABEL, labels.dtype)])
    electors = _Electors(features, labels, classes)
    truth = np.concatenate([np.zeros(0, np.int64), *(of_part for *_, of_part in parts)])
    judged = {
        name: np.concatenate([np.zeros([0, len(classes)]), *(elect(visible, judge) for visible, judge, _ in parts)])
        for name, elect in electors.by_name().items()
    }
    hits = {name: int(np.sum(shares.argmax(1) == truth)) for name, shares in judged.items()}
    best = max(hits, key=hits.__getitem__)  # the first of equal ones: the vote
    temperature = fit_power(judged[best], truth)
    final = calibrated(electors.by_name()[best](known, rows), temperature)
    tried = calibrated(judged[best], temperature)
    accuracies: dict[str, float] = {}
    for name in judged if len(truth) else ():
        method = name.partition(" ")[0]
        accuracies[method] = max(accuracies.get(method, 0.0), hits[name] / len(truth))
    return PseudoLabels(
        rows,
        classes[final.argmax(1)],
        final.max(1),
        electors.ballot(known, rows),
        known,
        classes,
        best.partition(" ")[0],
        accuracies,
        tried.max(1, initial=0.0),
        tried.argmax(1) == truth,
    )


class _Electors:
    """The methods, as functions from visible rows and rows to judge to shares of the classes.

    Args:
        features: `[n, D]` features of any norm.
        labels: Integers `[n]`; NO_LABEL where unknown.
        classes: Integers `[C]`, labels that occur, rising.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> None:
        self._directions, self._labels, self._classes = unit(features), labels, classes
        self._graphs = neighbour_graphs(features) if len(features) <= _MOST_SPREAD else []

    def by_name(self) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
        """Returns the vote, and label spreading by each graph."""
        spreads = {
            f"{LABEL_SPREADING} {number}": functools.partial(self._spread, graph)
            for number, graph in enumerate(self._graphs)
        }
        return {VOTE: lambda visible, rows: self.ballot(visible, rows).shares, **spreads}

    def ballot(self, visible: np.ndarray, rows: np.ndarray) -> Ballot:
        """Lets the visible rows vote on rows."""
        own = np.searchsorted(self._classes, self._labels[visible])
        return vote(self._directions[rows], self._directions[visible], own, len(self._classes))

    def _spread(self, graph: csr_matrix, visible: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Spreads the labels of the visible rows; shares are equal where no label arrives."""
        seen = np.full_like(self._labels, NO_LABEL)
        seen[visible] = self._labels[visible]
        names, arrived = spread_shares(graph, seen)
        shares = np.zeros([len(rows), len(self._classes)])
        shares[:, np.searchsorted(self._classes, names)] = arrived[rows]
        return np.where(shares.sum(1, keepdims=True) > 0, shares, 1 / len(self._classes))


def calibrated(shares: np.ndarray, temperature: float) -> np.ndarray:
    """Raises shares of classes `[n, C]` to the power 1 / temperature, and divides by the sums of the rows.

    Shares below 1e-6 count as 1e-6.
    """
    logits = np.log(np.maximum(shares, _FLOOR)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
    probabilities: np.ndarray = powers / powers.sum(1, keepdims=True)
    return probabilities


def fit_power(shares: np.ndarray, truth: np.ndarray) -> float:
    """Finds the temperature of `calibrated` that maximises the likelihood of the true classes.

    Args:
        shares: `[h, C]` shares of the classes.
        truth: Integers `[h]` in 0..C - 1.

    Returns:
        The temperature, in 0.05..20; 1 without a picture.

    Reference: temperature scaling, Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """
    if not len(truth):
        return 1.0

    def loss(log_temperature: float) -> float:
        own = calibrated(shares, float(np.exp(log_temperature)))[np.arange(len(truth)), truth]
        return float(-np.log(own).mean())

    bounds = (np.log(_COLDEST), np.log(_WARMEST))
    return float(np.exp(optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x))
