"""Out-of-distribution score: the Mahalanobis distance of features from the mean of the training images."""

import numpy as np
import tensorflow as tf
from sklearn.covariance import LedoitWolf

_CONSTANT = 1e-12  # variance, relative to the squared mean, at which a feature is constant but for rounding
_FLOOR = 1e-6  # of a variance, relative to the mean variance: a unit may have been silent on all training images


class OodScore(tf.Module):
    """Scores features by their distance from the training images, as a percentile among other training images.

    The score uses the encoder's features and not the unit-norm embedding, because the norm is the most informative part.

    Args:
        mean: `[F]` mean of training images' features.
        whitening: `[F, F]` matrix that maps their covariance to the identity.
        distances: `[R]` distances of reference images (training images that were not fitted), rising.

    Reference: Lee et al. 2018, arXiv 1807.03888, eq. 2, with one class; Ledoit & Wolf 2004 for the covariance.
    """

    def __init__(self, mean: np.ndarray, whitening: np.ndarray, distances: np.ndarray) -> None:
        super().__init__(name="ood_score")
        self.mean, self.whitening, self.distances = (
            tf.Variable(tf.constant(value, tf.float32), trainable=False) for value in (mean, whitening, distances)
        )

    def percentile(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores `[B, F]` features.

        Returns:
            A dictionary: distance, `[B]`, the Mahalanobis distance from the training images' mean; ood, `[B]` in 0..100, the
            percentage of reference images that are at most as far away, or 0 at the mean itself.
        """
        distance = tf.norm(tf.matmul(features - self.mean, self.whitening), axis=-1)
        nearer = tf.searchsorted(self.distances, distance, side="right")
        percentage = 100 * tf.cast(nearer / tf.size(self.distances), tf.float32)
        return {"distance": distance, "ood": tf.where(distance > 0, percentage, 0.0)}


def fit_ood_score(features: np.ndarray) -> OodScore:
    """Fits a score to features of training images: one half gives mean and covariance, the other distances.

    Args:
        features: `[n, F]`, n ≥ 1; a single image gives both. Of features without variance, such as those of one or two images,
            the distance is Euclidean.
    """
    fitted, ranked = features[::2].astype(np.float64), features[1::2] if len(features) > 1 else features
    mean, whitening = fitted.mean(axis=0), np.eye(features.shape[1])
    if np.any(fitted.var(axis=0) > _CONSTANT * np.square(mean)):
        variances, axes = np.linalg.eigh(LedoitWolf().fit(fitted).covariance_)
        whitening = axes / np.sqrt(np.maximum(variances, _FLOOR * variances.mean()))
    distances = np.linalg.norm((ranked - mean) @ whitening, axis=1)
    return OodScore(mean, whitening, np.sort(distances))
