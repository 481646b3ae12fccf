"""The ways in which a memory answers: a vote, class means or logistic regression."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from semppl.configs.choices import CLASS_MEANS, LOGISTIC_REGRESSION, VOTE
from semppl.evaluation.logistic_regression import Moments, fit_logistic_regression, refit
from semppl.evaluation.neighbours.class_means import class_means
from semppl.export.memory.embedded_images import EmbeddedImages

_ROUNDS = 5
_MOST_WEIGHTS = 2**25  # images × dimensions × classes; such a regression takes up to a minute


class Voters(NamedTuple):
    """Rows that score an embedding, each for a class.

    Attributes:
        kernel: float32 `[R, D]`; the score of a row is its dot product with the embedding, plus its bias.
        bias: float32 `[R]`.
        classes: int32 `[R]`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    classes: np.ndarray

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Maps embeddings `[n, D]` to scores `[n, R]`."""
        scores: np.ndarray = embeddings @ self.kernel.T + self.bias
        return scores


class Answerer:
    """A way to answer, fitted to remembered images.

    Args:
        answers: One of `ANSWERS`.
        memory: Remembered images.
        population: Moments of embeddings of the training images, by which logistic regression may scale; None: those of the
            memory.

    Attributes:
        voters: Voters fitted to all of the memory; the kernel of a vote is the remembered embeddings.
        temperature: Temperature at which the scores are logits, which is known for logistic regression; else None.
    """

    def __init__(self, answers: str, memory: EmbeddedImages, population: Moments | None) -> None:
        self._memory = memory
        self._fit, self.temperature = _fitter(answers, memory, population)
        self._votes = answers == VOTE
        self.voters = self._fit(memory)

    def scores(self, images: EmbeddedImages, barred: np.ndarray) -> np.ndarray:
        """Scores images, each by voters that were fitted without the remembered images that must not vote for it.

        Images for which some must not vote are scored in at most five rounds; those of a round share the voters.

        Args:
            images: `n` images.
            barred: bool `[n, M]`, true where a remembered image must not vote.

        Returns:
            `[n, R]` scores; minus infinity where a class has no voter.
        """
        if self._votes:
            similarities: np.ndarray = images.embeddings @ self._memory.embeddings.T
            similarities[barred] = -np.inf
            return similarities
        scores = np.full([len(images), len(self.voters.classes)], -np.inf, np.float32)
        for rows, allowed in _rounds(images.labels, barred):
            if allowed.any():
                voters = self.voters if allowed.all() else self._fit(self._memory.take(allowed))
                columns = np.searchsorted(self.voters.classes, voters.classes)
                scores[np.ix_(rows, columns)] = voters.scores(images.embeddings[rows])
        return scores


def is_affordable(answers: str, memory: EmbeddedImages) -> bool:
    """Returns whether answers can be fitted just to compare them: logistic regression takes long on a large memory."""
    weights = memory.embeddings.size * len(np.unique(memory.labels))
    return answers != LOGISTIC_REGRESSION or weights <= _MOST_WEIGHTS


def _fitter(
    answers: str, memory: EmbeddedImages, population: Moments | None
) -> tuple[Callable[[EmbeddedImages], Voters], float | None]:
    """Returns the function that fits voters to remembered images, and the temperature of their scores, if known."""
    if answers == VOTE:
        return lambda images: _voters(images.embeddings, np.zeros(len(images)), images.labels), None
    if answers == CLASS_MEANS:
        return _mean_voters, None
    chosen = fit_logistic_regression(memory.embeddings, memory.labels, population=population)
    scale = float(np.linalg.norm(chosen.kernel, axis=0).max()) or 1.0  # scores are then as large as similarities

    def regression_voters(images: EmbeddedImages) -> Voters:
        fitted = refit(chosen, images.embeddings, images.labels, population=population)
        return _voters(fitted.kernel.T / scale, fitted.bias / scale, fitted.classes)

    return regression_voters, 1 / scale


def _mean_voters(images: EmbeddedImages) -> Voters:
    means, classes = class_means(images.embeddings, images.labels)
    return _voters(means, np.zeros(len(means)), classes)


def _voters(kernel: np.ndarray, bias: np.ndarray, classes: np.ndarray) -> Voters:
    return Voters(kernel.astype(np.float32), bias.astype(np.float32), classes.astype(np.int32))


def _rounds(labels: np.ndarray, barred: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows of images `[r]`, and which remembered images vote for all of these, bool `[M]`; classes are spread evenly."""
    judged_by_all = ~barred.any(1)
    yield np.flatnonzero(judged_by_all), np.ones(barred.shape[1], bool)
    others = np.flatnonzero(~judged_by_all)
    others = others[np.argsort(labels[others], kind="stable")]
    for first in range(min(_ROUNDS, len(others))):
        rows = others[first::_ROUNDS]
        yield rows, ~barred[rows].any(0)
