"""Agreement of the clusters of embeddings with the classes."""

import warnings

import numpy as np
import threadpoolctl
from sklearn import cluster, exceptions, metrics

_MAX_IMAGES = 10_000


def clustering_agreement(features: np.ndarray, truth: np.ndarray, *, clusters: int, seed: int = 0) -> dict[str, float]:
    """Clusters unit-norm features by k-means, and compares the clusters with the classes.

    Args:
        features: `[t, D]` features, of any norm; of more than 10,000, a draw is clustered.
        truth: Integers `[t]`, true classes.
        clusters: Number of clusters, at most t different features.
        seed: Seed of the draw and of the initial centres, of which the best of ten sets is taken.

    Returns:
        "nmi", normalised mutual information (arithmetic mean of the entropies), and "ari", adjusted Rand index.

    Reference: scikit-learn's KMeans, normalized_mutual_info_score and adjusted_rand_score.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(features))[:_MAX_IMAGES])
    directions = features[rows] / np.maximum(np.linalg.norm(features[rows], axis=1, keepdims=True), 1e-12)
    model = cluster.KMeans(min(clusters, len(rows)), n_init=10, random_state=seed)
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)  # of fewer different features than clusters
        found = model.fit_predict(directions)
    return {
        "nmi": float(metrics.normalized_mutual_info_score(truth[rows], found)),
        "ari": float(metrics.adjusted_rand_score(truth[rows], found)),
    }
