"""Suspicious pictures: labels that neighbours contradict, duplicates with different labels, and outliers."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from semppl.data.images import NO_LABEL
from semppl.evaluation.advice.vote import Ballot, label_margins, vote
from semppl.evaluation.neighbours.directions import unit
from semppl.evaluation.neighbours.nearest_neighbours import nearest
from semppl.programs.extras import has_extra

_NEIGHBOURS = 10
_SHOWN = 3  # nearest labelled pictures of a suspect
_RANGES = 1.7  # interquartile ranges above the third quartile; cleanlab's threshold t = 0.37037 is 1 / t - 1


class Doubts(NamedTuple):
    """Doubts about the labels of m pictures.

    Attributes:
        rows: Integers `[m]`, rows of the labelled pictures, rising.
        ballot: Vote of the other labelled pictures on each; its voters are positions in `rows`.
        classes: Integers `[m]`, the classes that the votes elect.
        margins: `[m]` normalised margins of the labels, in 0..1; below 0.5, another class has more votes.
        scores: `[m]` label quality by which pictures are ranked, the smallest first.
        issues: bool `[m]`, where confident learning takes the label for wrong; None without cleanlab.
    """

    rows: np.ndarray
    ballot: Ballot
    classes: np.ndarray
    margins: np.ndarray
    scores: np.ndarray
    issues: np.ndarray | None


class Suspect(NamedTuple):
    """A suspicious picture.

    Attributes:
        row: Row of the picture.
        reasons: Reasons, in words.
        score: Label quality in 0..1, the smaller the worse; NaN for a picture whose label is not doubted.
        neighbours_label: Name of the class that the neighbours give; empty if they give none.
        neighbours: Rows of the nearest labelled pictures, or of the duplicates.
    """

    row: int
    reasons: tuple[str, ...]
    score: float
    neighbours_label: str
    neighbours: tuple[int, ...]


def doubt_labels(features: np.ndarray, labels: np.ndarray) -> Doubts:
    """Ranks labels by the vote of the other labelled pictures, of which each label is held out in turn.

    With the extra "quality", the score is cleanlab's normalised margin, adjusted for classes that are confident throughout, and
    `issues` are those of confident learning. Without it, the score is the normalised margin.

    Args:
        features: `[n, D]` features of any norm; their directions are compared.
        labels: Integers `[n]`, of at least two classes; NO_LABEL where unknown.
    """
    rows = np.flatnonzero(labels != NO_LABEL)
    names, classes = np.unique(labels[rows], return_inverse=True)
    directions = unit(features[rows])
    ballot = vote(directions, directions, classes, len(names), own=np.arange(len(rows)))
    margins = label_margins(ballot.shares, classes)
    elected = names[ballot.shares.argmax(1)]
    if not has_extra("quality"):
        return Doubts(rows, ballot, elected, margins, margins, None)
    from cleanlab import filter as confident_learning
    from cleanlab import rank

    scores = rank.get_label_quality_scores(classes, ballot.shares, method="normalized_margin", adjust_pred_probs=True)
    issues = confident_learning.find_label_issues(classes, ballot.shares, n_jobs=1)
    return Doubts(rows, ballot, elected, margins, scores, issues)


def conflicting(groups: Iterable[Sequence[int]], labels: np.ndarray) -> list[tuple[int, ...]]:
    """Returns the groups of duplicates, as rows, whose known labels differ; rows without a label are left out.

    Args:
        groups: Rows of pictures that are alike.
        labels: Integers `[n]`; NO_LABEL where unknown.
    """
    known = [tuple(int(row) for row in group if labels[row] != NO_LABEL) for group in groups]
    return [group for group in known if len({int(labels[row]) for row in group}) > 1]


def outliers(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds pictures that are unlike everything else.

    Args:
        features: `[n, D]` features of any norm; their directions are compared.

    Returns:
        `[n]` mean cosine distance to the nearest ten other pictures; and the rows where it is above the third quartile by more
        than 1.7 interquartile ranges, the most distant first.

    Reference: cleanlab's Datalab, outlier issues, with its default threshold.
    """
    directions = unit(features)
    size = min(_NEIGHBOURS, len(directions) - 1)
    if not size:
        return np.zeros(len(directions)), np.zeros(0, np.int64)
    similarities, _ = nearest(directions, directions, size, own=np.arange(len(directions)))
    apart = 1 - similarities.astype(np.float64).mean(1)
    lower, upper = np.quantile(apart, [0.25, 0.75])
    order = np.argsort(-apart, kind="stable")
    return apart, order[apart[order] > upper + _RANGES * (upper - lower)]


def ranked(
    doubts: Doubts | None,
    conflicts: Iterable[Sequence[int]],
    unlike: Sequence[int],
    *,
    class_names: Sequence[str],
    count: int,
) -> list[Suspect]:
    """Lists the suspicious pictures: duplicates with different labels, doubtful labels by their score, and outliers.

    Args:
        doubts: Doubts about labels; None if there are no two classes.
        conflicts: Groups of duplicates, as rows, whose labels differ.
        unlike: Rows of outliers, the most distant first.
        class_names: Names of the classes, by label.
        count: Maximum number of pictures.

    Returns:
        Each picture once, with all of its reasons. A label is doubtful if another class has more votes, or confident learning
        takes the label for wrong.
    """
    twins = {row: tuple(other for other in group if other != row) for group in conflicts for row in group}
    place = {} if doubts is None else {int(row): number for number, row in enumerate(doubts.rows)}
    odd = set(unlike)
    doubtful = [] if doubts is None else [int(doubts.rows[n]) for n in _doubtful(doubts)]
    wrong = set(doubtful)
    found = []
    for row in list(dict.fromkeys([*twins, *doubtful, *(int(row) for row in unlike)]))[:count]:
        reasons, score, label, near = [], float("nan"), "", twins.get(row, ())
        if row in twins:
            reasons.append(f"a duplicate has another label ({len(near)})")
        if doubts is not None and row in place:
            number = place[row]
            score, label = float(doubts.scores[number]), class_names[int(doubts.classes[number])]
            near = near or tuple(int(doubts.rows[voter]) for voter in doubts.ballot.voters[number][:_SHOWN])
            if row in wrong:
                share = doubts.ballot.shares[number].max()
                reasons.append(f"{share:.0%} of the neighbours' votes for {label}")
                if doubts.issues is not None and doubts.issues[number]:
                    reasons.append("a label issue by confident learning")
        if row in odd:
            reasons.append("unlike all other pictures")
        found.append(Suspect(row, tuple(reasons), score, label, near))
    return found


def _doubtful(doubts: Doubts) -> np.ndarray:
    """Returns the positions of doubtful labels, those with the smallest score first."""
    wrong = doubts.margins < 0.5 if doubts.issues is None else (doubts.margins < 0.5) | doubts.issues
    order = np.argsort(doubts.scores, kind="stable")
    positions: np.ndarray = order[wrong[order]]
    return positions
