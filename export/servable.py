"""What is served: from images, or encoded pictures, to embeddings, with nothing but TensorFlow inside."""

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.networks import OnlineNetwork, unit_norm
from semppl.layers.preprocessing import test_view

EMBEDDINGS = ("projections", "features")


class Servable(tf.Module):
    """Prepares images as evaluation does, and embeds them.

    Of the network only the weights are saved, not its Keras objects: a reader needs no class of ours.

    Args:
        network: the trained online network.
        hyperparameters: of its run.
        embedding: projections (g∘f, D wide: what the labels shaped) or features (f: wider, more general).

    Raises:
        ValueError: if the embedding is unknown.
    """

    def __init__(self, network: OnlineNetwork, hyperparameters: Hyperparameters, *, embedding: str) -> None:
        super().__init__(name="servable")
        if embedding not in EMBEDDINGS:
            raise ValueError(f"--embedding must be one of {', '.join(EMBEDDINGS)}. Received: {embedding}")
        self.weights = network.weights
        self._embed = (
            network.project if embedding == "projections" else lambda images: unit_norm(network.features(images))
        )
        self._prepare = test_view(hyperparameters.recipe, hyperparameters.large_size, shrink=hyperparameters.shrink)
        self._size = hyperparameters.large_size
        self._channels = hyperparameters.channels

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Returns the named signatures, each with a free batch size."""
        images = tf.TensorSpec([None, None, None, self._channels], tf.float32, name="images")
        encoded = tf.TensorSpec([None], tf.string, name="bytes")
        embed_bytes = self.embed_bytes.get_concrete_function(encoded)
        return {
            "serving_default": embed_bytes,
            "embed_bytes": embed_bytes,
            "embed_images": self.embed_images.get_concrete_function(images),
        }

    @tf.function
    def embed_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embeds `[B, H, W, C]` float32 in 0..1; returns embedding `[B, D]`, unit-norm."""
        return {"embedding": self._embed(self._prepare(images))}

    @tf.function
    def embed_bytes(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embeds `[B]` JPEG or PNG files of any size; returns embedding `[B, D]`, unit-norm."""
        spec = tf.TensorSpec([self._size, self._size, self._channels], tf.float32)
        return {"embedding": self._embed(tf.map_fn(self._decode, encoded, fn_output_signature=spec))}

    def _decode(self, encoded: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=self._channels, expand_animations=False)
        image = tf.ensure_shape(image, [None, None, self._channels])
        return self._prepare(image[tf.newaxis])[0]
