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
        ValueError: if the embedding is unknown, or narrower than `dims`; if the images are none that picture files hold.
    """

    def __init__(
        self, network: OnlineNetwork, hyperparameters: Hyperparameters, *, embedding: str, dims: int = 0
    ) -> None:
        super().__init__(name="embedder")
        if embedding not in EMBEDDINGS:
            raise ValueError(f"--embedding must be one of {', '.join(EMBEDDINGS)}. Received: {embedding}")
        if hyperparameters.channels not in (1, 3):
            allowed = "1 or 3 to export: a served model takes picture files"
            raise ValueError(f"--channels must be {allowed}. Received: {hyperparameters.channels}")
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
        return unit_norm(self._network(prepared)[:, : self.width])

    def from_images(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeds `[B, H, W, C]` float32 in 0..1; returns `[B, width]`, and whether every number was finite `[B]`."""
        prepared = self.prepare(images)
        # Of the sum, for ONNX Runtime: a test of every number has a layout of its own there, in which cubic resizing fails.
        return self.embed(prepared), tf.math.is_finite(tf.reduce_sum(prepared, axis=[1, 2, 3]))

    def from_bytes(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeds `[B]` files; returns `[B, width]`, and whether each could be decoded `[B]`."""
        prepared, valid = decode_rows(encoded, self.prepare, size=self.size, channels=self.channels)
        return self.embed(prepared), valid
