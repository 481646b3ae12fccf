"""Labels for the pictures without one: by a vote of labelled pictures, or by label spreading."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.sparse import csr_matrix

from semppl.data.images import NO_LABEL
from semppl.evaluation.advice.vote import Ballot, vote
from semppl.evaluation.logistic_regression import held_out_parts
from semppl.evaluation.neighbours.directions import unit
from semppl.evaluation.neighbours.label_spreading import GRAPH_NEIGHBOURS, neighbour_graphs, spread_shares

VOTE, LABEL_SPREADING = "vote", "label_spreading"
VALIDATION, CROSS_VALIDATION, NOTHING = "validation", "cross_validation", "nothing"

Pictures = tuple[np.ndarray, np.ndarray]
"""Features `[n, D]` and labels `[n]`."""

_MOST_SPREAD = 50_000  # pictures
_FLOOR = 1e-6  # of a probability
_COLDEST, _WARMEST = 0.05, 20.0


class Judged(NamedTuple):
    """Labels for pictures whose label is known.

    Attributes:
        probabilities: `[h]` calibrated probabilities of the labels, in 0..1.
        right: bool `[h]`, whether the labels are right.
    """

    probabilities: np.ndarray
    right: np.ndarray


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
        chosen_on: Pictures by which method and calibration were chosen: "validation", "cross_validation" of the labelled
            pictures, or "nothing" where none of these could be held out.
        held_out: Accuracy on these pictures by method; empty if there is none.
        judged: Labels of these pictures by the method that was chosen.
        tested: Labels of the test pictures by that method; None without test pictures.
    """

    rows: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    ballot: Ballot
    known: np.ndarray
    classes: np.ndarray
    method: str
    chosen_on: str
    held_out: dict[str, float]
    judged: Judged
    tested: Judged | None


def label_rows(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    validation: Pictures | None = None,
    test: Pictures | None = None,
    seed: int = 0,
) -> PseudoLabels:
    """Labels the pictures without a label.

    Label spreading is used if it gives more held-out pictures their label than the vote does; the number of neighbours of its
    graph is chosen on the same pictures. Of more than 50,000 pictures, the vote is used. Probabilities are the shares of the
    classes to the power 1 / T; T maximises the likelihood of the held-out labels, and is 1 if there is none.

    Pictures are held out in this order: the validation pictures; if none is of a class that occurs, the labelled pictures in
    turn, in the folds of `held_out_parts`. Test pictures decide nothing.

    Args:
        features: `[n, D]` features of any norm.
        labels: Integers `[n]`, of at least two classes; NO_LABEL where unknown.
        validation: Features `[h, D]` and labels `[h]` of pictures to choose by, which the features were not trained on; those
            of classes that do not occur are left out.
        test: Features `[t, D]` and labels `[t]` of pictures to report on; those of classes that do not occur are left out.
        seed: Seed of the folds.
    """
    rows, known = np.flatnonzero(labels == NO_LABEL), np.flatnonzero(labels != NO_LABEL)
    classes, own = np.unique(labels[known], return_inverse=True)
    judges, truth = _of_classes(validation, classes)
    electors = _Electors(features, labels, classes, judges)
    parts, chosen_on = [(known, electors.others, truth)], VALIDATION
    if not len(truth):
        parts = [(known[t], known[h], own[h]) for t, h in held_out_parts(own, seed)]
        chosen_on = CROSS_VALIDATION if parts else NOTHING
    truth = np.concatenate([np.zeros(0, np.int64), *(of_part for *_, of_part in parts)])
    judged = {
        name: np.concatenate([np.zeros([0, len(classes)]), *(elect(visible, judge) for visible, judge, _ in parts)])
        for name, elect in electors.by_name().items()
    }
    hits = {name: int(np.sum(shares.argmax(1) == truth)) for name, shares in judged.items()}
    best = max(hits, key=hits.__getitem__)  # the first of equal ones: the vote
    temperature = fit_power(judged[best], truth)
    final = calibrated(electors.by_name()[best](known, rows), temperature)
    tested = None
    if test is not None:
        seen, of_test = _of_classes(test, classes)
        testers = _Electors(features, labels, classes, seen)
        tested = _judged(calibrated(testers.by_name()[best](known, testers.others), temperature), of_test)
    return PseudoLabels(
        rows=rows,
        labels=classes[final.argmax(1)],
        probabilities=final.max(1),
        ballot=electors.ballot(known, rows),
        known=known,
        classes=classes,
        method=_method(best),
        chosen_on=chosen_on,
        held_out=_accuracies(hits, len(truth)),
        judged=_judged(calibrated(judged[best], temperature), truth),
        tested=tested,
    )


def _of_classes(pictures: Pictures | None, classes: np.ndarray) -> Pictures | tuple[None, np.ndarray]:
    """Returns features `[h, D]` of the pictures of classes that occur, and the places of these classes `[h]`."""
    if pictures is None:
        return None, np.zeros(0, np.int64)
    features, labels = pictures
    kept = np.isin(labels, classes)
    return features[kept], np.searchsorted(classes, labels[kept])


def _judged(probabilities: np.ndarray, truth: np.ndarray) -> Judged:
    return Judged(probabilities.max(1, initial=0.0), probabilities.argmax(1) == truth)


def _accuracies(hits: dict[str, int], count: int) -> dict[str, float]:
    """Returns the accuracy of each method, of label spreading by the best graph; empty without a held-out picture."""
    accuracies: dict[str, float] = {}
    for name, right in hits.items() if count else ():
        accuracies[_method(name)] = max(accuracies.get(_method(name), 0.0), right / count)
    return accuracies


def _method(name: str) -> str:
    return name.partition(" ")[0]


class _Electors:
    """The methods, as functions from visible rows and rows to judge to shares of the classes.

    Args:
        features: `[n, D]` features of any norm.
        labels: Integers `[n]`; NO_LABEL where unknown.
        classes: Integers `[C]`, labels that occur, rising.
        others: `[h, D]` features of further pictures, which get the rows `others` after the n; None: none.

    Attributes:
        others: Integers `[h]`, rows of the further pictures.
    """

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, classes: np.ndarray, others: np.ndarray | None
    ) -> None:
        further = features[:0] if others is None else others
        self._features = np.concatenate([features, further])
        self._labels = np.concatenate([labels, np.full(len(further), NO_LABEL, labels.dtype)])
        self._directions, self._classes = unit(self._features), classes
        self._names = [f"{LABEL_SPREADING} {k}" for k in GRAPH_NEIGHBOURS] if len(features) <= _MOST_SPREAD else []
        self.others = np.arange(len(features), len(self._features))

    def by_name(self) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
        """Returns the vote, and label spreading by each graph."""
        spreads = {name: functools.partial(self._spread, number) for number, name in enumerate(self._names)}
        return {VOTE: lambda visible, rows: self.ballot(visible, rows).shares, **spreads}

    def ballot(self, visible: np.ndarray, rows: np.ndarray) -> Ballot:
        """Lets the visible rows vote on rows."""
        own = np.searchsorted(self._classes, self._labels[visible])
        return vote(self._directions[rows], self._directions[visible], own, len(self._classes))

    @functools.cached_property
    def _graphs(self) -> list[csr_matrix]:
        return neighbour_graphs(self._features)

    def _spread(self, number: int, visible: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Spreads the labels of the visible rows; shares are equal where no label arrives."""
        seen = np.full_like(self._labels, NO_LABEL)
        seen[visible] = self._labels[visible]
        names, arrived = spread_shares(self._graphs[number], seen)
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
