"""A run whose pictures, embeddings and predicted classes are given, for the tests of its report."""

import pathlib

import numpy as np

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL, ImageSet, Source
from semppl.data.splits import RunData
from semppl.evaluation.report_page.judged import Judged, Pictures, Predictions
from semppl.tests import tiny

HOSTILE = ('<script>alert("1")</script>', "Käse & 'Öl' $x_1$", "\udce4\x07")


def pictures(labels, embeddings, *, seed=0, names=None, total=None):
    """Makes grey pictures of 8 x 8 pixels with labels and embeddings."""
    labels = np.asarray(labels, np.int32)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 8, 8, 1), np.uint8)
    names = tuple(f"{seed}/{row}.png" for row in range(len(labels))) if names is None else names
    return Pictures(ImageSet(images, labels, names), np.asarray(embeddings, np.float32), total or len(labels))


def judged_run(
    workdir, *, truth, classes, confidence, class_names, labelled=None, labelled_embeddings=None, names=None
):
    """Makes a run whose test pictures `truth` are predicted to be `classes` with confidences.

    Without `labelled`, there is one labelled training picture per class; with an empty one, there are no predictions.
    """
    rng = np.random.default_rng(1)
    labelled = np.arange(len(class_names)) if labelled is None else np.asarray(labelled)
    if labelled_embeddings is None:
        labelled_embeddings = rng.standard_normal((len(labelled), 4))
    known = pictures(labelled, labelled_embeddings, seed=1)
    test = pictures(truth, rng.standard_normal((len(truth), 4)), seed=2, names=names)
    labels = np.append(labelled, NO_LABEL).astype(np.int32)
    train = ImageSet(np.zeros([len(labels), 8, 8, 1], np.uint8), labels)
    data = RunData(Source(train, test.images, tuple(class_names)), labels)
    of_truth = np.where(np.equal(truth, classes), confidence, 0.01)
    of_truth = np.where(np.equal(truth, NO_LABEL), np.nan, of_truth)
    predictions = Predictions("a test", np.asarray(classes), np.asarray(confidence, float), of_truth)
    return Judged(
        pathlib.Path(workdir),
        Hyperparameters(**tiny.settings()),
        20,
        data,
        "features",
        known,
        test,
        "test",
        predictions if len(labelled) else None,
    )
