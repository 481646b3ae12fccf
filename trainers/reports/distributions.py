"""What TensorBoard shows of an examination beside numbers: histograms of similarities, and confusions of pseudo-labels."""

from typing import NamedTuple

import numpy as np

from semppl.evaluation.results.classes import confusion_counts
from semppl.layers.labels import NO_LABEL

_SIDE = 256  # pixels of an image, at least


class Distributions(NamedTuple):
    """What TensorBoard shows of an examination beside numbers.

    Attributes:
        similarities: Cosine similarities `[n]` of held-out images to the most similar labelled image "of_own_class" and
            "of_another_class"; empty without held-out labels.
        confusion: Integers `[C, C]`: examined training images by true class, the row, and pseudo-label, the column; None if no
            true class of an image with a pseudo-label is known.
    """

    similarities: dict[str, np.ndarray]
    confusion: np.ndarray | None


def split_similarities(similarities: np.ndarray, truth: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns each image's largest similarity to a labelled image of its class, and to one of another class.

    Args:
        similarities: `[n, m]` similarities of images to labelled images.
        truth: Integers `[n]`, classes of the images.
        labels: Integers `[m]`, classes of the labelled images.

    Returns:
        "of_own_class" and "of_another_class", `[n]` or fewer: images without such a labelled image are left out.
    """
    own = truth[:, np.newaxis] == labels
    largest = {
        "of_own_class": np.where(own, similarities, -np.inf).max(1),
        "of_another_class": np.where(own, -np.inf, similarities).max(1),
    }
    return {name: values[np.isfinite(values)] for name, values in largest.items()}


def pseudo_label_confusion(classes: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray | None:
    """Counts images by true class, the row, and pseudo-label, the column: integers `[C, C]`; None if there is no such image.

    Args:
        classes: Integers `[n]`, pseudo-labels; NO_LABEL where there is none.
        truth: Integers `[n]`, true classes; NO_LABEL where unknown.
        num_classes: Number of classes, C.
    """
    known = (classes != NO_LABEL) & (truth != NO_LABEL)
    if not known.any():
        return None
    return confusion_counts(truth[known], classes[known], num_classes)


def confusion_image(counts: np.ndarray) -> np.ndarray:
    """Draws a confusion matrix `[C, C]`, each row divided by its sum, as `[H, H, 1]` in 0..1 of at least 256 pixels."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = -(-_SIDE // len(counts))
    return shares.repeat(side, 0).repeat(side, 1)[..., np.newaxis]
