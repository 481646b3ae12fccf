"""Logistic regression on frozen features."""

import numpy as np
import threadpoolctl
from sklearn import linear_model, model_selection, pipeline, preprocessing

_STRENGTHS = np.logspace(-2, 2, 5)  # inverse L2 strengths; the losses are summed over images
_FOLDS = 5
_MANY = 5000  # labelled images from which one held-out fold suffices
_ITERATIONS = 500


def logistic_regression_classes(
    features: np.ndarray, labels: np.ndarray, queries: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """Fits a multinomial logistic regression by L-BFGS, and classifies the queries.

    The L2 strength is chosen on held-out labelled images: by cross-validation, or, from 5,000 labelled images, on one fifth of
    them. If a class has a single image, no image is held out, and the strength is 1.

    Args:
        features: `[m, D]` features of the labelled images.
        labels: Integers `[m]`, classes of the labelled images.
        queries: `[n, D]` features of the images to classify.
        seed: Seed of the folds.

    Returns:
        `[n]` predicted classes.
    """
    rarest = int(np.min(np.unique(labels, return_counts=True)[1]))
    if rarest < 2:
        classifier = linear_model.LogisticRegression(C=1.0, max_iter=_ITERATIONS)
    else:
        if len(labels) < _MANY:
            parts = model_selection.StratifiedKFold(min(_FOLDS, rarest), shuffle=True, random_state=seed)
        else:
            parts = model_selection.StratifiedShuffleSplit(1, test_size=1 / _FOLDS, random_state=seed)
        classifier = linear_model.LogisticRegressionCV(Cs=_STRENGTHS, cv=parts, max_iter=_ITERATIONS)
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), classifier)
    with threadpoolctl.threadpool_limits(1):  # small problems: several threads would wait for each other
        classes: np.ndarray = model.fit(features, labels).predict(queries)
    return classes
