"""Logistic regression on frozen features."""

import numpy as np
from sklearn import linear_model, model_selection, pipeline, preprocessing

_STRENGTHS = np.logspace(-4, 4, 17)
_FOLDS = 5


def logistic_regression_classes(
    features: np.ndarray, labels: np.ndarray, queries: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """Fits a multinomial logistic regression by L-BFGS and classifies.

    The L2 strength is chosen by cross-validation among the labelled images alone; where a class has fewer than two of them there is
    nothing to hold out, and the strength is 1.

    Args:
        features: `[m, D]` of the labelled images.
        labels: `[m]` integers.
        queries: `[n, D]`.
        seed: of the folds.

    Returns:
        `[n]` labels.
    """
    rarest = int(np.min(np.unique(labels, return_counts=True)[1]))
    if rarest < 2:
        classifier = linear_model.LogisticRegression(C=1.0, max_iter=2000)
    else:
        folds = model_selection.StratifiedKFold(min(_FOLDS, rarest), shuffle=True, random_state=seed)
        classifier = linear_model.LogisticRegressionCV(Cs=_STRENGTHS[4:13:2], cv=folds, max_iter=2000)
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), classifier)
    classes: np.ndarray = model.fit(features, labels).predict(queries)
    return classes
