"""From pictures to embeddings, prepared as evaluation prepares them, with nothing but TensorFlow inside."""

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.decoding import decode_rows
from semppl.layers.networks import OnlineNetwork, unit_norm
from semppl.layers.preprocessing import test_view

EMBEDDINGS = ("projections", "features")


class Embedder(tf.Module):
    """Prepares pictures and embeds them.

    Of the network only the weights are saved, not its Keras objects: a reader needs no class of ours.

    Args:
        network: the trained online network.
        hyperparameters: of its run.
        embedding: projections (g∘f, D wide: what the labels shaped) or features (f: wider, more general).
        dims: how many numbers of an embedding are kept, from the first on; 0 keeps all.

    Raises:
        ValueError: if the embedding is unknown, or narrower than `dims`.
    """

    def __init__(
        self, network: OnlineNetwork, hyperparameters: Hyperparameters, *, embedding: str, dims: int = 0
    ) -> None:
        super().__init__(name="embedder")
        if embedding not in EMBEDDINGS:
            raise ValueError(f"--embedding must be one of {', '.join(EMBEDDINGS)}. Received: {embedding}")
        self.weights = network.weights
        self.prepare = test_view(hyperparameters.recipe, hyperparameters.large_size, shrink=hyperparameters.shrink)
        self.size = hyperparameters.large_size
        self.channels = hyperparameters.channels
        self._network = network.project if embedding == "projections" else network.features
        whole = int(self._network(tf.zeros([1, self.size, self.size, self.channels])).shape[-1])
        if not 0 <= dims <= whole:
            raise ValueError(f"--embedding_dims must be in 0..{whole}. Received: {dims}")
        self.width = dims or whole

    def embed(self, prepared: tf.Tensor) -> tf.Tensor:
        """Embeds `[B, size, size, C]` in 0..1: `[B, width]`, unit-norm."""
        filled = tf.ensure_shape(_filled(prepared), [None, self.size, self.size, self.channels])
        return unit_norm(self._network(filled)[:, : self.width])[: tf.shape(prepared)[0]]

    def from_images(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeds `[B, H, W, C]` float32 in 0..1; returns `[B, width]`, and whether each has pixels, all of them finite `[B]`."""
        prepared = self.prepare(_filled(images))[: tf.shape(images)[0]]
        valid = tf.reduce_all(tf.math.is_finite(prepared), axis=[1, 2, 3]) & (tf.size(images) > 0)
        return self.embed(prepared), valid

    def from_bytes(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeds `[B]` files; returns `[B, width]`, and whether each could be decoded `[B]`."""
        prepared, valid = decode_rows(encoded, self.prepare, size=self.size, channels=self.channels)
        return self.embed(prepared), valid


def _filled(images: tf.Tensor) -> tf.Tensor:
    """Adds a black row, line or column to `[B, H, W, C]` where there is none: convolution and resizing fail on nothing."""
    missing = tf.maximum(1 - tf.shape(images)[:3], 0)
    return tf.pad(images, [[0, missing[0]], [0, missing[1]], [0, missing[2]], [0, 0]])
