"""How unlike the training images a picture is: how far its features lie from their mean, in standard deviations."""

import numpy as np
import tensorflow as tf
from sklearn.covariance import LedoitWolf

_FLOOR = 1e-6  # of a variance, as a share of their mean: a unit that never fired may fire


class Strangeness(tf.Module):
    """Ranks pictures by their distance from the training images among training images.

    The features are taken as the encoder gives them: their length, which an embedding has lost, tells most.

    Args:
        mean: `[F]` of training images' features.
        whitening: `[F, F]` that makes their covariance the identity.
        distances: `[R]` of other training images, rising.

    Reference: Lee et al. 2018, arXiv 1807.03888, eq. 2, with one class; Ledoit & Wolf 2004 for the covariance.
    """

    def __init__(self, mean: np.ndarray, whitening: np.ndarray, distances: np.ndarray) -> None:
        super().__init__(name="strangeness")
        self.mean, self.whitening, self.distances = (
            tf.Variable(tf.constant(value, tf.float32), trainable=False) for value in (mean, whitening, distances)
        )

    def percentile(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tells how strange each of `[B, F]` is.

        Returns:
            distance `[B]`, Mahalanobis, from the mean of the training images; ood `[B]` in 0..100, the share of reference images
            that are not farther away.
        """
        distance = tf.norm(tf.matmul(features - self.mean, self.whitening), axis=-1)
        nearer = tf.searchsorted(self.distances, distance, side="right")
        return {"distance": distance, "ood": 100 * tf.cast(nearer / tf.size(self.distances), tf.float32)}


def fit_strangeness(features: np.ndarray) -> Strangeness:
    """Fits to `[n, F]` features of training images, n ≥ 2: mean and covariance to one half, distances to the other."""
    fitted, ranked = features[::2].astype(np.float64), features[1::2]
    variances, axes = np.linalg.eigh(LedoitWolf().fit(fitted).covariance_)
    whitening = axes / np.sqrt(np.maximum(variances, _FLOOR * variances.mean()))
    mean = fitted.mean(axis=0)
    distances = np.linalg.norm((ranked - mean) @ whitening, axis=1)
    return Strangeness(mean, whitening, np.sort(distances))
