"""Features of several views of each image, computed once by a frozen encoder, in place of the images."""

import dataclasses

import numpy as np
import tensorflow as tf

from semppl.data.views import randomness

Row = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class CachedViews:
    """The images of one split, each represented by the features of V of its views.

    Attributes:
        features: `[n, V, F]` float16, in memory or mapped from a file.
        labels: `[n]` int32, NO_LABEL where unknown.
        groups: `[n]` int64, equal for images that show the same thing; None if every image is its own group.
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def draw(self, row: Row, *, count: int) -> Row:
        """Draws views of each image without replacement, by the image's own seed.

        Args:
            row: positions `[B]` int64, and seeds `[B, 2]` int64.
            count: Number of views per image, L, at most V.

        Returns:
            positions, large `[L, B, F]` and small `[0, B, F]` float32.
        """
        _, views, width = self.features.shape
        order = tf.math.top_k(randomness.uniform(row["seeds"], "cached_views", (views,)), count).indices  # [B,L]
        large = tf.numpy_function(self._gathered, [row["positions"], order], tf.float32, stateful=False)
        large = tf.ensure_shape(large, [count, row["positions"].shape[0], width])
        return {"positions": row["positions"], "large": large, "small": large[:0]}

    def _gathered(self, positions: np.ndarray, order: np.ndarray) -> np.ndarray:
        chosen: np.ndarray = self.features[positions, order.T]  # [L,B,F]
        return chosen.astype(np.float32)
