"""BYOL's linear predictors in closed form: matrices computed from the covariance of the projections."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from semppl.layers.blocks.matrix_roots import newton_schulz, symmetric_root
from semppl.layers.moving_average import moving_average

VISSER_RATE = 0.5
"""η of Visser's iteration; the largest at which an eigenvalue of 1 converges without overshooting."""


def direct_copy(covariance: tf.Tensor) -> tf.Tensor:
    """Returns Σ."""
    return covariance


def root_of_root(covariance: tf.Tensor) -> tf.Tensor:
    """Returns an approximation of Σ^¼, by 7 Newton–Schulz iterations for each of two square roots."""
    return newton_schulz(newton_schulz(covariance, iterations=7)[0], iterations=7)[0]


def nearest_orthogonal(covariance: tf.Tensor) -> tf.Tensor:
    """Returns Σ·(ΣᵀΣ)^−½, the orthogonal matrix nearest to Σ, by 9 Newton–Schulz iterations."""
    return covariance @ newton_schulz(tf.matmul(covariance, covariance, transpose_a=True), iterations=9)[1]


def visser_step(root: tf.Tensor, covariance: tf.Tensor) -> tf.Tensor:
    """Returns P + η·(Σ/‖Σ‖ − P²), a step from P towards the square root of Σ/‖Σ‖, with the Frobenius norm."""
    return root + VISSER_RATE * (covariance / tf.norm(covariance) - root @ root)


_FUNCTIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "direct_copy": direct_copy,
    "direct_pred": symmetric_root,
    "newton_schulz": lambda covariance: newton_schulz(covariance, iterations=9)[0],
    "ns2": root_of_root,
    "stiefel": nearest_orthogonal,
}
VISSER, STIEFEL = "visser", "stiefel"
CLOSED_FORMS = (*_FUNCTIONS, VISSER)
"""Names of the closed forms."""


@tf.keras.saving.register_keras_serializable(package="semppl")
class ClosedFormPredictor(tf.keras.layers.Layer):
    """A linear predictor P, a function of the moving average of the projections' covariance.

    Variables: covariance `[D, D]`, the moving average of Σ, at first the identity; and root `[D, D]`, P of Visser's iteration,
    which takes one step per call, at first I/(2η). Every replica updates its own copy by the same values: an aggregation would
    need a call across replicas, which TensorFlow refuses in a step that XLA compiles for several GPUs.

    Args:
        kind: One of `CLOSED_FORMS`.
        width: Width D of the projections.
        ridge: Number added to the diagonal of Σ before P is computed; 0 or more.
        decay: Decay of the moving average, in 0..1.

    Reference: Richemond et al. 2023, arXiv 2302.04817; docs/reference/method.md has the differences.
    """

    def __init__(self, kind: str, width: int, *, ridge: float, decay: float, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.kind = kind
        self.width = width
        self.ridge = ridge
        self.decay = decay
        self.covariance = self._state("covariance", 1.0)
        self.root = self._state("root", 1 / (2 * VISSER_RATE)) if kind == VISSER else None

    def _state(self, name: str, gain: float) -> tf.Variable:
        return self.add_weight(
            name,
            [self.width, self.width],
            initializer=tf.keras.initializers.Identity(gain),
            trainable=False,
            experimental_autocast=False,
        )

    @property
    def is_of_pairs(self) -> bool:
        """Whether Σ is the covariance of targets and projections, Z'ᵀZ; else that of the projections, ZᵀZ."""
        return self.kind == STIEFEL

    def fit(self, covariance: tf.Tensor) -> tf.Tensor:
        """Moves the average towards Σ of the global batch, `[D, D]`; returns P `[D, D]`, without gradient."""
        average = moving_average(tf.convert_to_tensor(self.covariance), tf.stop_gradient(covariance), self.decay)
        self.covariance.assign(average)
        ridged = average + self.ridge * tf.eye(self.width, dtype=average.dtype)
        if self.root is None:
            return tf.stop_gradient(_FUNCTIONS[self.kind](ridged))
        root = visser_step(tf.convert_to_tensor(self.root), ridged)
        self.root.assign(root)
        return root

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        config.update(kind=self.kind, width=self.width, ridge=self.ridge, decay=self.decay)
        config.pop("trainable", None)
        return config


def covariance(projections: tf.Tensor) -> tf.Tensor:
    """Computes this replica's share of Σ = D·ZᵀZ/N, whose eigenvalues have the mean 1.

    Args:
        projections: `[L, B, D]` unit-norm projections Z of the large views.

    Returns:
        `[D, D]` mean over views and this replica's images.
    """
    count = projections.shape[0] * projections.shape[1]
    return tf.einsum("lbd,lbe->de", projections, projections) * (projections.shape[-1] / count)


def covariance_of_pairs(projections: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Computes this replica's share of Σ = D·Z'ᵀZ/N over the pairs of a view and another view's target.

    Args:
        projections: `[L, B, D]` unit-norm projections Z of the large views.
        targets: `[L, B, D]` unit-norm target projections Z' of the same views.

    Returns:
        `[D, D]` mean over pairs of views and this replica's images; 0 if L is 1.
    """
    num_views, batch, width = projections.shape
    pairs = 1 - tf.eye(num_views, dtype=projections.dtype)
    total = tf.einsum("lbd,vbe,lv->de", targets, projections, pairs)
    return total * (width / (batch * max(num_views * (num_views - 1), 1)))
