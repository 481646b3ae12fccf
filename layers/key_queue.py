"""The memory of MoCo and NNCLR: a first-in-first-out queue of the embeddings of all images."""

from typing import Any

import tensorflow as tf


@tf.keras.saving.register_keras_serializable(package="semppl")
class KeyQueue(tf.keras.layers.Layer):
    """Holds the embeddings of the latest images, labelled or not; at first, random directions.

    The queue holds rows of the global batch: every replica enqueues the same gathered rows into its
    own copy, so the copies stay equal without communication.

    Variables: keys `[L, Q, D]`, unit-norm; pointer, the next slot to fill.

    Args:
        num_queues: Number of queues L, one per view whose embeddings are stored.
        capacity: Number of slots Q per queue.
        width: Width D of the embeddings.

    Reference: He et al. 2020, arXiv 1911.05722, section 3.2, whose queue also starts from random directions.
    """

    def __init__(self, num_queues: int, capacity: int, width: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.num_queues = num_queues
        self.capacity = capacity
        self.width = width
        shape = [num_queues, capacity, width]
        self.keys = self.add_weight("keys", shape, initializer=random_directions, trainable=False)
        self.pointer = self.add_weight("pointer", [], tf.int32, initializer="zeros", trainable=False)

    def enqueue(self, embeddings: tf.Tensor) -> None:
        """Adds the images of one global batch, `[L, N, D]` unit-norm embeddings, in place of the oldest; N ≤ Q.

        Raises:
            ValueError: If the batch is larger than the queue.
        """
        count = embeddings.shape[1]
        if count > self.capacity:
            raise ValueError(f"A batch must fit the queue: at most capacity={self.capacity} rows. Received: {count}")
        age = (tf.range(self.capacity) - self.pointer) % self.capacity  # [Q], of each slot's new row in the batch
        rows = tf.gather(tf.stop_gradient(embeddings), tf.minimum(age, count - 1), axis=1)  # [L,Q,D]
        self.keys.assign(tf.where((age < count)[:, tf.newaxis], tf.cast(rows, self.keys.dtype), self.keys))
        self.pointer.assign((self.pointer + count) % self.capacity)

    def nearest(self, embeddings: tf.Tensor) -> tf.Tensor:
        """Returns the entry of the first queue with the largest cosine: `[..., D]` for `[..., D]`, without gradient."""
        keys = tf.convert_to_tensor(self.keys)[0]
        similarities = tf.einsum("...d,qd->...q", tf.stop_gradient(embeddings), keys)
        return tf.gather(keys, tf.argmax(similarities, axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        config.update(num_queues=self.num_queues, capacity=self.capacity, width=self.width)
        config.pop("trainable", None)
        return config


def random_directions(shape: tf.TensorShape, dtype: tf.DType, **kwargs: Any) -> tf.Tensor:
    """Initialises `[..., D]` with unit-norm vectors of uniformly distributed directions, always the same."""
    del kwargs  # of Keras
    return tf.math.l2_normalize(tf.random.stateless_normal(shape, seed=[0, 0], dtype=dtype), axis=-1)
