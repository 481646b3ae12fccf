"""The interface of a reusable SavedModel, so that tensorflow-hub can use an exported model as a layer."""

from collections.abc import Sequence

import tensorflow as tf

from semppl.export.model.embedder import Embedder


class Reusable(tf.Module):
    """Embeds images when called, and lists the variables that fine-tuning may train.

    Batch norm uses its moving averages in fine-tuning too, and never updates them; its scales and offsets are trained.

    Args:
        embedder: Embedder to call.
        name: Name of the module.

    Attributes:
        trainable_variables: Variables that the embedding depends on; empty if the embedder's weights are frozen.
        variables: The trainable variables and the moving averages.
    """

    trainable_variables: Sequence[tf.Variable] = ()  # tf.Module's own properties would not be saved
    variables: Sequence[tf.Variable] = ()

    def __init__(self, embedder: Embedder, name: str) -> None:
        super().__init__(name=name)
        self._layer = embedder
        with tf.GradientTape() as tape:
            embedder.embed(tf.zeros([1, embedder.size, embedder.size, embedder.channels]))
        self.trainable_variables = list(tape.watched_variables())
        self.variables = [*self.trainable_variables, *(weight for weight in embedder.weights if not weight.trainable)]
        self.__call__.get_concrete_function(tf.TensorSpec([None, None, None, embedder.channels], tf.float32, "images"))

    @tf.function(autograph=False)
    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Maps images `[B, H, W, C]` in 0..1 to unit-norm embeddings `[B, D]`."""
        return self._layer.embed(self._layer.prepare(images))
