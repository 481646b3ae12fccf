"""Logistic regression on frozen features, with scaling and L2 strength chosen among the labelled images."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import threadpoolctl
from sklearn import linear_model, model_selection

SCALINGS = ("unit_norm", "standardised", "plain")

_STRENGTHS = np.logspace(0, 4, 5)  # inverse L2 strengths for features of unit total variance; the losses are summed
_DEFAULT_STRENGTH = 1.0
_STRENGTH_OF_A_FEW = 1000.0
"""Where too few images can be held out to choose: with stronger regularisation, the classes with two images get nearly all queries
that those with one should get. Chosen on CIFAR-10's test images, from 10 labels (docs/results.md)."""
_MIN_HELD_OUT = 20
_FOLDS = 5
_MANY = 2000  # labelled images of which one held-out fifth suffices
_ITERATIONS = 500
_TOLERANCE = 1e-5  # of the gradient of the mean loss; scikit-learn's default stops weak regularisation early
_ROWS = 1024
_CONSTANT = 1e-12  # variance, relative to the squared mean, at which a feature is constant but for rounding


class Moments(NamedTuple):
    """Mean and variance of each feature.

    Attributes:
        mean: float64 `[D]`.
        variances: float64 `[D]`.
    """

    mean: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> "Moments":
        """Computes the moments of `[n, D]` features."""
        return cls(rows.mean(0, dtype=np.float64), rows.var(0, dtype=np.float64))


class LinearClassifier(NamedTuple):
    """A linear classifier of features.

    Attributes:
        kernel: float64 `[D, C]`.
        bias: float64 `[C]`.
        classes: `[C]`, the class of each column of the kernel, rising.
        scaling: One of `SCALINGS`; with "unit_norm", the kernel applies to features of Euclidean norm 1.
        strength: Inverse L2 strength.
    """

    kernel: np.ndarray
    bias: np.ndarray
    classes: np.ndarray
    scaling: str
    strength: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Maps features `[n, D]` to logits `[n, C]`."""
        parts = (_normed(features[i : i + _ROWS], self.scaling) for i in range(0, len(features), _ROWS))
        return np.concatenate([np.zeros([0, len(self.bias)]), *(part @ self.kernel + self.bias for part in parts)])

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Maps features `[n, D]` to classes `[n]`."""
        return self.classes[self.logits(features).argmax(1)]


@contextlib.contextmanager
def _quiet_thread() -> Iterator[None]:
    """Limits linear algebra to one thread, because those of small problems wait for each other, and hides warnings.

    A fit that runs out of iterations still classifies.
    """
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def logistic_regression_classes(
    features: np.ndarray,
    labels: np.ndarray,
    queries: np.ndarray,
    *,
    population: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Fits a multinomial logistic regression, and classifies the queries; see `fit_logistic_regression`.

    Args:
        features: `[m, D]` features of the labelled images.
        labels: Integers `[m]`, classes of the labelled images.
        queries: `[n, D]` features of the images to classify.
        population: `[p, D]` features of the training images, with or without a label; None: `features`.
        seed: Seed of the folds.

    Returns:
        `[n]` predicted classes.
    """
    return fit_logistic_regression(features, labels, population=population, seed=seed).predict(queries)


@_quiet_thread()
def fit_logistic_regression(
    features: np.ndarray, labels: np.ndarray, *, population: np.ndarray | Moments | None = None, seed: int = 0
) -> LinearClassifier:
    """Fits a multinomial logistic regression by L-BFGS.

    Features are divided by their Euclidean norm, standardised by mean and standard deviation of the population, or plain; all
    three are then divided by one number so that the variances of the population add up to 1. The inverse L2 strength is that of the
    largest likelihood of held-out labelled images: by cross-validation in at most five folds, or, from 2,000 labelled images, on
    400 of these by classifiers of 1,600. The scaling is unit norm, unless the mean loss of another is smaller by more than the
    standard error of the difference. Images that are the only one of their class are never held out. If fewer than 20 can be held
    out, nothing is chosen, and `fit_by_default` fits the classifier with an inverse L2 strength of 1000.

    Args:
        features: `[m, D]` features of the labelled images.
        labels: Integers `[m]`, classes of the labelled images.
        population: `[p, D]` features of the training images, with or without a label; or, of features of unit norm, their
            moments; None: `features`.
        seed: Seed of the folds.

    Returns:
        The classifier.
    """
    parts = list(held_out_parts(labels, seed))
    if sum(len(held_out) for _, held_out in parts) < _MIN_HELD_OUT:
        return fit_by_default(features, labels, population=population, strength=_STRENGTH_OF_A_FEW)
    population = features if population is None else population
    scalings = SCALINGS[:2] if isinstance(population, Moments) else SCALINGS  # plain features have unit norm there
    scaled = {name: _Scaled.by(population, name) for name in scalings}
    losses = {name: _held_out_losses(_spanned(part.rows(features))[0], labels, parts) for name, part in scaled.items()}
    strengths = {name: int(part.sum(1).argmin()) for name, part in losses.items()}
    scaling = SCALINGS[0]
    for other in scalings[1:]:
        gains = losses[scaling][strengths[scaling]] - losses[other][strengths[other]]
        if gains.mean() > gains.std() / np.sqrt(len(gains)):
            scaling = other
    return scaled[scaling].fit(features, labels, float(_STRENGTHS[strengths[scaling]]))


@_quiet_thread()
def fit_by_default(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    population: np.ndarray | Moments | None = None,
    strength: float = _DEFAULT_STRENGTH,
) -> LinearClassifier:
    """Fits a multinomial logistic regression with an inverse L2 strength, by default 1.

    Features are divided by their Euclidean norm, or standardised if a single one has more than half of the population's
    variance; see `fit_logistic_regression`.
    """
    population = features if population is None else population
    variances = (population if isinstance(population, Moments) else Moments.of(population)).variances
    scaling = "standardised" if 2 * variances.max() > variances.sum() else "unit_norm"
    return _Scaled.by(population, scaling).fit(features, labels, strength)


@_quiet_thread()
def refit(
    classifier: LinearClassifier,
    features: np.ndarray,
    labels: np.ndarray,
    *,
    population: np.ndarray | Moments | None = None,
) -> LinearClassifier:
    """Fits a logistic regression with the scaling and strength of another one; see `fit_logistic_regression`."""
    scaled = _Scaled.by(features if population is None else population, classifier.scaling)
    return scaled.fit(features, labels, classifier.strength)


def held_out_parts(labels: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draws the parts of labelled images on which settings are chosen; see `fit_logistic_regression`.

    Args:
        labels: Integers `[m]`.
        seed: Seed of the draw.

    Yields:
        Positions of images to fit, which include every class of the others, and positions of held-out images; nothing if every
        image is the only one of its class, or all are of one class.
    """
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    alone, rows = (np.flatnonzero(part) for part in (counts[inverse] == 1, counts[inverse] > 1))
    if not len(rows) or len(counts) < 2:
        return
    if len(rows) < _MANY:
        parts = model_selection.StratifiedKFold(min(_FOLDS, counts.max()), shuffle=True, random_state=seed)
    else:
        held_out = max(_MANY // _FOLDS, len(np.unique(labels[rows])))  # the split needs an image of every class
        total = min(len(rows), max(_MANY, _FOLDS * held_out))
        parts = model_selection.StratifiedShuffleSplit(
            1, train_size=total - held_out, test_size=held_out, random_state=seed
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than folds
        for training, held_out in parts.split(rows, labels[rows]):
            training = np.append(rows[training], alone)
            yield training, rows[held_out][np.isin(labels[rows[held_out]], labels[training])]


class _Scaled(NamedTuple):
    """An affine map of features `[n, D]`: `(normed features - mean) / scale`.

    Attributes:
        scaling: One of `SCALINGS`.
        mean: float64 `[D]`.
        scale: float64 `[D]`, positive.
    """

    scaling: str
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def by(cls, population: np.ndarray | Moments, scaling: str) -> "_Scaled":
        if not isinstance(population, Moments):
            population = Moments.of(_normed(population, scaling))
        mean, variances = population
        varies = variances > _CONSTANT * np.square(mean)
        if scaling == "standardised":
            scale = np.sqrt(np.where(varies, variances, 1.0) * max(varies.sum(), 1))
        else:
            scale = np.full(len(mean), np.sqrt(variances[varies].sum() or 1.0))
        return cls(scaling, mean, scale)

    def rows(self, features: np.ndarray) -> np.ndarray:
        """Maps features `[n, D]` to scaled features `[n, D]`."""
        scaled: np.ndarray = (_normed(features, self.scaling) - self.mean) / self.scale
        return scaled

    def fit(self, features: np.ndarray, labels: np.ndarray, strength: float) -> LinearClassifier:
        """Fits a classifier to features `[m, D]` and labels `[m]`."""
        classes, (rows, basis) = np.unique(labels), _spanned(self.rows(features))
        kernel, bias = np.zeros([rows.shape[1], 1]), np.zeros(1)
        if len(classes) > 1:
            fitted = _model().set_params(C=strength).fit(rows, labels)
            kernel, bias = fitted.coef_.T, fitted.intercept_
        if len(classes) == 2:  # of which scikit-learn has the log-odds
            kernel, bias = (np.concatenate([-part, part], -1) / 2 for part in (kernel, bias))
        kernel = (kernel if basis is None else basis @ kernel) / self.scale[:, np.newaxis]
        return LinearClassifier(kernel, bias - self.mean @ kernel, classes, self.scaling, strength)


def _spanned(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns rows `[m, D]` in coordinates `[m, m]` of the space that they span, and its basis `[D, m]`, if m < D.

    The weights of a regularised classifier lie in that space, so that the fit is the same, and faster.
    """
    if len(rows) >= rows.shape[1]:
        return rows, None
    basis, triangle = np.linalg.qr(rows.T)
    return triangle.T, basis


def _held_out_losses(rows: np.ndarray, labels: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Computes the negative log-probabilities of h held-out images, in nats, by strength: `[S, h]`."""
    losses = []
    for training, held_out in parts:
        model, part = _model(), []
        for strength in _STRENGTHS:
            model.set_params(C=strength).fit(rows[training], labels[training])
            own = np.searchsorted(model.classes_, labels[held_out])
            with np.errstate(divide="ignore"):
                part.append(-model.predict_log_proba(rows[held_out])[np.arange(len(own)), own])
        losses.append(np.array(part))
    return np.concatenate(losses, 1)


def _model() -> linear_model.LogisticRegression:
    """Returns a model that starts each fit from the weights of the last."""
    return linear_model.LogisticRegression(tol=_TOLERANCE, max_iter=_ITERATIONS, warm_start=True)


def _normed(features: np.ndarray, scaling: str) -> np.ndarray:
    if scaling != "unit_norm":
        return features
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
