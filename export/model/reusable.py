"""An exported model as a layer of somebody else's network: what tensorflow-hub asks of a SavedModel."""

from collections.abc import Sequence

import tensorflow as tf

from semppl.export.model.embedder import Embedder


class Reusable(tf.Module):
    """Embeds images when it is called, and says which of its variables may be trained: a reusable SavedModel.

    Batch norm uses its running averages, in fine-tuning too, and keeps them; its scales and offsets are trained.

    Args:
        embedder: from pictures to embeddings.
        name: of the module.

    Attributes:
        trainable_variables: those that the embedding depends on; none of an embedder whose weights are frozen.
        variables: these, and what is never trained.
    """

    trainable_variables: Sequence[tf.Variable] = ()  # in place of tf.Module's properties, which are not saved
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
        """Embeds `[B, H, W, C]` float32 in 0..1: `[B, D]`, unit-norm."""
        return self._layer.embed(self._layer.prepare(images))
