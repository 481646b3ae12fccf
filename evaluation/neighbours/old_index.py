"""Accuracy of new queries in an index of an older run's embeddings, by nearest neighbours."""

from typing import NamedTuple

import numpy as np

from semppl.evaluation.neighbours.nearest_neighbours import nearest_neighbour_classes


class Embedded(NamedTuple):
    """Images as one network embeds them.

    Attributes:
        memory: `[m, D]` embeddings of the indexed images.
        queries: `[n, D]` embeddings of the images to classify.
    """

    memory: np.ndarray
    queries: np.ndarray


def old_index_accuracies(
    old: Embedded, new: Embedded, labels: np.ndarray, truth: np.ndarray, *, k: int
) -> dict[str, float]:
    """Measures nearest neighbours within and across two networks.

    Args:
        old: Embeddings of width E by the older network.
        new: Embeddings of width D ≥ E by the newer network, whose first E dimensions are compared with old ones.
        labels: Integers `[m]`, classes of the indexed images.
        truth: Integers `[n]`, true classes of the queries.
        k: Number of nearest neighbours that vote, 1 or more; more than m are cut to m.

    Returns:
        Accuracy of old queries in the old index, new queries in the old index, and new queries in a new index.
    """
    width = old.memory.shape[1]
    searches = {
        "old queries, old index": old,
        "new queries, old index": Embedded(old.memory, new.queries[:, :width]),
        "new queries, new index": new,
    }
    k = min(k, len(labels))
    return {
        name: float(np.mean(nearest_neighbour_classes(images.queries, images.memory, labels, k=k) == truth))
        for name, images in searches.items()
    }


def old_index_lines(accuracies: dict[str, float]) -> list[str]:
    """Formats accuracies of `old_index_accuracies`, one per line."""
    width = max(map(len, accuracies))
    title = "accuracy of nearest neighbours, with the older run of --compatible_with:"
    return [title, *(f"  {name:<{width}}  {accuracy:.4f}" for name, accuracy in accuracies.items())]
