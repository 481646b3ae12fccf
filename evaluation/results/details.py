"""Figures on one representation that do not fit into the table of evaluators."""

from typing import Any

import numpy as np
from scipy import special

from semppl.data.images import NO_LABEL
from semppl.evaluation.evaluators import Task, regression_of
from semppl.evaluation.neighbours.nearest_neighbours import (
    K_GRID,
    choose_neighbours,
    nearest,
    voted_classes,
    weighted_neighbour_shares,
    weighted_shares,
)
from semppl.evaluation.results.calibration import (
    COVERAGES,
    area_under_risk_coverage,
    expected_calibration_error,
    risk_coverage,
    risks_at,
)
from semppl.evaluation.results.clustering import clustering_agreement
from semppl.evaluation.results.measures import accuracy

_MAX_PSEUDO_LABELLED = 20_000


def details(
    task: Task, truth: np.ndarray, *, num_classes: int, neighbours: int, min_vote_share: float
) -> dict[str, Any]:
    """Measures a representation in more ways than one accuracy per evaluator.

    Args:
        task: Representations of the labelled, of other training, and of the test images.
        truth: Integers `[t]`, true classes of the test images.
        num_classes: Number of classes, C.
        neighbours: Number of nearest neighbours that vote on pseudo-labels in training.
        min_vote_share: Smallest share of the votes for a pseudo-label in training.

    Returns:
        "k_grid", "calibration", "clustering" and "pseudo_labels"; see the functions of these names.
    """
    return {
        "k_grid": k_grid(task, truth),
        "calibration": calibration(task, truth),
        "clustering": clustering_agreement(task.test, truth, clusters=num_classes, seed=task.seed),
        "pseudo_labels": pseudo_labels(task, neighbours=neighbours, min_vote_share=min_vote_share),
    }


def k_grid(task: Task, truth: np.ndarray) -> dict[str, Any]:
    """Returns "k", numbers of neighbours up to 200, and the accuracies of their plain and temperature-weighted votes."""
    memory, labels = task.memory
    classes, places = np.unique(labels, return_inverse=True)
    grid = [k for k in K_GRID if k <= len(memory)]
    similarities, positions = nearest(task.test, memory, grid[-1])
    plain, weighted = [], []
    for k in grid:
        near, votes = similarities[:, :k], places[positions[:, :k]]
        plain.append(accuracy(classes[voted_classes(near, votes)], truth))
        weighted.append(accuracy(classes[weighted_shares(near, votes, len(classes)).argmax(1)], truth))
    return {"k": grid, "nearest_neighbours": plain, "weighted_neighbours": weighted}


def calibration(task: Task, truth: np.ndarray) -> dict[str, dict[str, Any]]:
    """Measures the confidences of weighted neighbours and of logistic regression.

    Returns:
        For each: "ece", the expected calibration error in 15 bins; "aurc", the area under the risk-coverage curve; "risk_at", the
        risk at coverages of at least 0.5, 0.8, 0.9 and 1.
    """
    memory, labels = task.memory
    shares, classes = weighted_neighbour_shares(task.test, memory, labels, k=choose_neighbours(memory, labels))
    probabilities = special.softmax(regression_of(task).logits(task.test), axis=1)
    measured = {}
    for name, part in (("weighted_neighbours", shares), ("logistic_regression", probabilities)):
        confidence, correct = part.max(1), classes[part.argmax(1)] == truth
        coverages, risks = risk_coverage(confidence, correct)
        measured[name] = {
            "ece": expected_calibration_error(confidence, correct),
            "aurc": area_under_risk_coverage(confidence, correct),
            "risk_at": dict(zip(map(str, COVERAGES), risks_at(coverages, risks), strict=True)),
        }
    return measured


def pseudo_labels(task: Task, *, neighbours: int, min_vote_share: float) -> dict[str, float]:
    """Lets the labelled images vote on the class of the others, as in training.

    Args:
        task: Representations of the training images.
        neighbours: Number of nearest neighbours that vote.
        min_vote_share: Smallest share of the votes for a pseudo-label.

    Returns:
        "images", the number of others, at most 20,000; "coverage", the share that gets a pseudo-label; "accuracy" of the
        pseudo-labels, where the true class of one of these images is known. Without other images, "images" alone.
    """
    memory, labels = task.memory
    others = np.setdiff1d(task.sample, task.labelled)[:_MAX_PSEUDO_LABELLED]
    report: dict[str, float] = {"images": len(others)}
    if not len(others):
        return report
    similarities, positions = nearest(task.train[others], memory, min(neighbours, len(memory)))
    votes = labels[positions]
    classes = voted_classes(similarities, votes)
    sure = np.mean(votes == classes[:, np.newaxis], 1) >= min_vote_share
    report["coverage"] = float(sure.mean())
    judged = sure & (task.train_labels[others] != NO_LABEL)
    if judged.any():
        report["accuracy"] = accuracy(classes[judged], task.train_labels[others][judged])
    return report


def detail_lines(report: dict[str, Any]) -> list[str]:
    """Formats a report of `details`, a line for each part."""
    grid, found, pseudo = (report[name] for name in ("k_grid", "clustering", "pseudo_labels"))
    pairs = zip(grid["k"], grid["nearest_neighbours"], grid["weighted_neighbours"], strict=True)
    lines = ["nearest neighbours by k, plain / weighted: " + ", ".join(f"{k}: {a:.4f} / {b:.4f}" for k, a, b in pairs)]
    for name, figures in report["calibration"].items():
        risks = ", ".join(f"{risk:.4f} at {float(least):.0%}" for least, risk in figures["risk_at"].items())
        lines.append(
            f"calibration of {name}: ECE {figures['ece']:.4f}, area under the risk-coverage curve {figures['aurc']:.4f}, "
            f"risk at coverage: {risks}"
        )
    lines.append(f"clusters of k-means against the classes: NMI {found['nmi']:.4f}, ARI {found['ari']:.4f}")
    if "coverage" in pseudo:
        right = f", accuracy {pseudo['accuracy']:.4f}" if "accuracy" in pseudo else ""
        lines.append(
            f"pseudo-labels of {pseudo['images']} other training images: coverage {pseudo['coverage']:.4f}{right}"
        )
    return lines
