"""Errors of a classifier on corrupted and on shifted test images, beside those of a baseline."""

import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.data.images import NO_LABEL, Images
from semppl.evaluation.evaluators import Task, regression_of, training_sample
from semppl.evaluation.feature_store import FeatureStore, digest_of_classified
from semppl.evaluation.features import map_rows, preparation_of
from semppl.evaluation.neighbours.nearest_neighbours import nearest_neighbour_classes
from semppl.evaluation.robustness.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt
from semppl.evaluation.robustness.errors import mean_corruption_error, relative_mean_corruption_error
from semppl.layers.networks import OnlineNetwork
from semppl.runs import checkpoints

Report = dict[str, Any]
Classifiers = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Function from images `[B, H, W, C]` uint8 to classes `[B]`, by the name of the classifier."""

FILE = "robustness.json"
_MAX_IMAGES = 1000
_BATCH = 64


def classifiers_of(
    workdir: str | pathlib.Path,
    network: OnlineNetwork,
    images: Images,
    labels: np.ndarray,
    hyperparameters: Hyperparameters,
    *,
    k: int,
) -> Classifiers:
    """Fits the logistic regression of an evaluation to features, and remembers projections of labelled images as neighbours.

    Args:
        workdir: Folder of the run.
        network: Online network of the run.
        images: Training images.
        labels: Integers `[n]`, visible labels of the training images; NO_LABEL where hidden.
        hyperparameters: Hyper-parameters of the run.
        k: Number of nearest neighbours that vote.

    Returns:
        "logistic_regression" and, if the run trains its projector, "nearest_neighbours".
    """
    visible = np.flatnonzero(labels != NO_LABEL)
    sample = training_sample(visible, images)
    features = FeatureStore(workdir).embed(
        network.features, images, prepare=preparation_of(hyperparameters), positions=sample
    )
    rows = np.searchsorted(sample, visible), np.arange(len(sample))
    task = Task(features, labels[sample], *rows, features[:0], k)
    remembered, known = task.memory
    regression = regression_of(task)
    memory = map_rows(network.project_features, remembered) if checkpoints.trains_projector(workdir) else None
    encode, project = (
        tf.function(function, reduce_retracing=True, autograph=False)
        for function in (network.features, network.project_features)
    )

    def classify(pixels: np.ndarray) -> dict[str, np.ndarray]:
        parts = [pixels[first : first + _BATCH] / np.float32(255) for first in range(0, len(pixels), _BATCH)]
        features = np.concatenate([encode(tf.constant(part)).numpy() for part in parts])
        classes = {"logistic_regression": regression.predict(features)}
        if memory is not None:
            queries = project(tf.constant(features)).numpy()
            classes["nearest_neighbours"] = nearest_neighbour_classes(queries, memory, known, k=min(k, len(memory)))
        return classes

    return classify


def seen_pixels(images: Images, hyperparameters: Hyperparameters) -> tuple[np.ndarray, np.ndarray]:
    """Crops and resizes images for the network; of more than 1,000, a fixed draw.

    Args:
        images: Images, all with a label.
        hyperparameters: Hyper-parameters of the run.

    Returns:
        `[n, S, S, C]` uint8 and the labels `[n]`.

    Raises:
        ValueError: If the images have neither one nor three channels.
    """
    if images.channels not in (1, 3):
        raise ValueError(
            f"--robustness must be left out for images of neither one nor three channels. Received: {images.channels} channels"
        )
    positions = _seen(images)
    prepare = preparation_of(hyperparameters)
    parts = images.batches(prepare, batch_size=_BATCH, positions=positions)
    pixels = np.concatenate([np.round(255 * part.numpy()).astype(np.uint8) for part in parts])
    return pixels, images.labels[positions]


def digest_of_seen(images: Images, class_names: Sequence[str]) -> str:
    """Computes the SHA-256 digest, in hexadecimal, of the source's images that `seen_pixels` takes, and of their classes."""
    return digest_of_classified(images, _seen(images), class_names)


def _seen(images: Images) -> np.ndarray:
    """Returns the positions of at most 1,000 images, always the same ones."""
    return np.sort(np.random.default_rng(0).permutation(len(images))[:_MAX_IMAGES])


def corrupted_errors(classify: Classifiers, images: np.ndarray, truth: np.ndarray, *, seed: int = 0) -> Report:
    """Measures the errors of classifiers on images, clean and under 19 corruptions at 5 severities.

    Args:
        classify: Classifiers.
        images: `[n, H, W, C]` uint8 images as the network sees them, of one or three channels.
        truth: Integers `[n]`, true classes.
        seed: Seed of the corruptions.

    Returns:
        For each classifier: "clean", the error in 0..1 without corruption, and "corruptions", corruption → error at each severity.
    """
    errors: Report = {
        name: {"clean": error, "corruptions": {}}
        for name, error in classification_errors(classify, images, truth).items()
    }
    with tqdm.tqdm(total=len(SEVERITIES) * len(CORRUPTIONS | EXTRA_CORRUPTIONS), leave=False, file=sys.stderr) as bar:
        for corruption in CORRUPTIONS | EXTRA_CORRUPTIONS:
            for severity in SEVERITIES:
                corrupted = np.stack(
                    [corrupt(image, corruption, severity, position=at, seed=seed) for at, image in enumerate(images)]
                )
                for name, error in classification_errors(classify, corrupted, truth).items():
                    errors[name]["corruptions"].setdefault(corruption, []).append(error)
                bar.update()
    return errors


def beside_baseline(errors: Report, others: Report) -> Report:
    """Compares errors of `corrupted_errors` with those of a baseline.

    Args:
        errors: Errors by classifier.
        others: Errors of the baseline by classifier.

    Returns:
        For each classifier: "mce" and "relative_mce" over the fifteen corruptions of ImageNet-C; None where the errors of the
        baseline do not allow for a ratio.
    """
    compared = {}
    for name, own in errors.items():
        other = others[name if name in others else "logistic_regression"]  # a supervised run has no projections
        fifteen = {corruption: own["corruptions"][corruption] for corruption in CORRUPTIONS}
        compared[name] = {
            "mce": mean_corruption_error(fifteen, other["corruptions"]),
            "relative_mce": relative_mean_corruption_error(fifteen, own["clean"], other["corruptions"], other["clean"]),
        }
    return compared


def read_errors(workdir: str | pathlib.Path, own: Report) -> Report:
    """Reads the errors, by classifier, of a run that was measured before, on the same test images.

    Args:
        workdir: Folder of that run.
        own: "images" and "images_sha256" of the run that is measured now.

    Raises:
        ValueError: If the run was not measured, or on other images.
    """
    file = pathlib.Path(workdir) / FILE
    if not file.is_file():
        raise ValueError(
            "--baseline must be the folder of a run that was evaluated with --robustness. "
            f"Received: {workdir}, which has no {FILE}"
        )
    report: Report = json.loads(file.read_text(encoding="utf-8"))
    if report["images"] != own["images"]:
        raise ValueError(
            f"--baseline must be measured on the same {counted(own['images'], 'test image')}. "
            f"Received: {workdir}, on {report['images']:,}"
        )
    if "images_sha256" not in report:
        print(
            f"warning: {workdir} was measured by a release that recorded no digest of the test images, so that only the number of "
            "images is compared; evaluate that run with --robustness again",
            file=sys.stderr,
        )
    elif report["images_sha256"] != own["images_sha256"]:
        raise ValueError(
            f"--baseline must be measured on the same {counted(own['images'], 'test image')}: evaluate that run with --robustness "
            f"and the --test of this one. Received: {workdir}, whose test images or labels differ"
        )
    return dict(report["errors"])


def robustness_lines(report: Report) -> list[str]:
    """Formats a report on robustness as a table of the mean error under each corruption, with one line per comparison."""
    names = list(report["errors"])
    lines = ["  ".join([f"{'error, mean of 5 severities':<28}", *names])]
    rows = {"clean": {name: errors["clean"] for name, errors in report["errors"].items()}}
    for corruption in CORRUPTIONS | EXTRA_CORRUPTIONS:
        rows[corruption] = {
            name: float(np.mean(errors["corruptions"][corruption])) for name, errors in report["errors"].items()
        }
    for source, errors in report.get("shifted", {}).items():
        rows[source] = errors
    for row, values in rows.items():
        lines.append("  ".join([f"{row:<28}", *(f"{values[name]:>{len(name)}.4f}" for name in names)]))
    for name, compared in report.get("beside_baseline", {}).items():
        shown = ", ".join(
            f"{measure.replace('mce', 'mCE').replace('_', ' ')} "
            + ("undefined (the baseline does not err more under corruption)" if value is None else f"{value:.4f}")
            for measure, value in compared.items()
        )
        lines.append(f"{name} beside {report['baseline']}: {shown}")
    return lines


def classification_errors(classify: Classifiers, images: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Returns the share of images `[n, H, W, C]` uint8 to which each classifier gives another than the true class `[n]`."""
    return {name: float(np.mean(classes != truth)) for name, classes in classify(images).items()}
