"""Accuracy of each class, and the confusions of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from semppl.configs.wording import counted

_MOST_CONFUSIONS = 20
_MOST_LINES = 20
_MAX_MATRIX = 100  # classes


def class_report(predicted: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Reports the accuracy of each class, and the commonest confusions.

    Args:
        predicted: Integers `[t]`, predicted classes; negative where nothing is predicted.
        truth: Integers `[t]`, true classes.
        names: Names of the classes.

    Returns:
        "per_class": for each class that occurs, in the order of the names, its name, number of images and accuracy in 0..1;
        "confusions": at most 20 pairs of a true and another predicted class with the number of images, falling.
    """
    rows = []
    for label in np.unique(truth):
        own = predicted[truth == label]
        rows.append({"class": names[label], "images": len(own), "accuracy": float(np.mean(own == label))})
    wrong = (predicted != truth) & (predicted >= 0)
    pairs, counts = np.unique(np.stack([truth[wrong], predicted[wrong]], 1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_CONFUSIONS]
    confusions = [
        {"true": names[pairs[row, 0]], "predicted": names[pairs[row, 1]], "images": int(counts[row])} for row in order
    ]
    return {"per_class": rows, "confusions": confusions}


def confusion_counts(truth: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts images by true class, the row, and predicted class, the column: integers `[C, C]`."""
    counts: np.ndarray = np.bincount(truth * num_classes + classes, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def confusion_matrix(predicted: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Counts the images of each true and predicted class.

    Args:
        predicted: Integers `[t]`, predicted classes, none negative.
        truth: Integers `[t]`, true classes.
        names: Names of the classes.

    Returns:
        "confusion_matrix": the names, and rows of counts, one row for each true class with a count for each predicted one; empty
        for more than 100 classes.
    """
    count = len(names)
    if count > _MAX_MATRIX:
        return {}
    rows = confusion_counts(truth, predicted, count).tolist()
    return {"confusion_matrix": {"classes": list(names), "rows": rows}}


def class_lines(report: dict[str, Any], *, written_to: str = "") -> list[str]:
    """Formats a report of `class_report`: the classes by rising accuracy, and the commonest confusions.

    Args:
        report: Report, with "of", the row and column of the table that it describes.
        written_to: Name of the file that has the whole report, of which 20 classes are printed; empty: all classes are.
    """
    rows = sorted(report["per_class"], key=lambda row: row["accuracy"])
    most = _MOST_LINES if written_to else len(rows)
    width = max(len(row["class"]) for row in rows[:most])
    lines = [f"accuracy per class ({report['of']}), the lowest first:"]
    lines += [f"  {row['class']:<{width}}  {row['accuracy']:.4f} of {row['images']}" for row in rows[:most]]
    if len(rows) > most:
        lines.append(f"  {counted(len(rows) - most, 'more class')} in {written_to}")
    if report["confusions"]:
        of = {row["class"]: row["images"] for row in rows}
        lines.append("commonest confusions (true → predicted):")
        lines += [
            f"  {pair['true']} → {pair['predicted']}: {pair['images']} of {of[pair['true']]}"
            for pair in report["confusions"][: _MOST_LINES // 2]
        ]
    return lines
