"""The labelled memory: one first-in-first-out queue of target projections per large view."""

from typing import Any

import tensorflow as tf

from semppl.layers.labels import NO_LABEL


@tf.keras.saving.register_keras_serializable(package="semppl")
class EmbeddingQueue(tf.keras.layers.Layer):
    """Holds the target projections of the latest labelled images, with their labels and ids.

    All queues are filled in lockstep, a slot holds the same image in each, so labels and ids stand once. The queues are those of
    the global batch: every replica enqueues the same gathered rows into a copy of its own, so the copies stay equal without
    a word between replicas.

    That only labelled images are queued, and Q = 20·N, is second-hand (docs/method.md).

    Variables: embeddings `[L, Q, D]`; labels `[Q]` int32, NO_LABEL where empty; ids `[Q]` int64; pointer, the next slot.

    Args:
        num_queues: L, one per large view.
        capacity: Q, slots per queue.
        width: D of the embeddings.
    """

    def __init__(self, num_queues: int, capacity: int, width: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.num_queues = num_queues
        self.capacity = capacity
        self.width = width
        self.embeddings = self._state("embeddings", [num_queues, capacity, width], tf.float32, 0)
        self.labels = self._state("labels", [capacity], tf.int32, NO_LABEL)
        self.ids = self._state("ids", [capacity], tf.int64, -1)
        self.pointer = self._state("pointer", [], tf.int32, 0)

    def _state(self, name: str, shape: list[int], dtype: tf.DType, fill: int) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer=tf.keras.initializers.Constant(fill),
            trainable=False,
        )

    def enqueue(self, embeddings: tf.Tensor, labels: tf.Tensor, ids: tf.Tensor) -> None:
        """Adds the labelled images of one global batch, over the oldest entries.

        Args:
            embeddings: `[L, n, D]` unit-norm target projections, n ≤ Q.
            labels: `[n]` int32.
            ids: `[n]` int64.

        Raises:
            ValueError: if the batch does not fit the queue.
        """
        count = labels.shape[0]
        if count > self.capacity:
            raise ValueError(f"A batch must fit the queue: at most capacity={self.capacity} rows. Received: {count}")
        slots = (self.pointer + tf.range(count)) % self.capacity  # [n]
        queues, places = tf.meshgrid(tf.range(self.num_queues), slots, indexing="ij")
        embeddings = tf.stop_gradient(tf.cast(embeddings, self.embeddings.dtype))
        self.embeddings.assign(tf.tensor_scatter_nd_update(self.embeddings, tf.stack([queues, places], -1), embeddings))
        self.labels.assign(tf.tensor_scatter_nd_update(self.labels, slots[:, tf.newaxis], labels))
        self.ids.assign(tf.tensor_scatter_nd_update(self.ids, slots[:, tf.newaxis], ids))
        self.pointer.assign((self.pointer + count) % self.capacity)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the same layer."""
        config: dict[str, Any] = super().get_config()
        config.update(num_queues=self.num_queues, capacity=self.capacity, width=self.width)
        config.pop("trainable", None)
        config.pop("dtype", None)
        return config
