"""The labelled memory: one first-in-first-out queue of target projections per large view."""

from typing import Any

import tensorflow as tf

from semppl.layers.labels import NO_LABEL


@tf.keras.saving.register_keras_serializable(package="semppl")
class EmbeddingQueue(tf.keras.layers.Layer):
    """Holds the target projections of the latest labelled images, with their labels and groups.

    All queues are filled in lockstep, a slot holds the same image in each, so labels and groups stand once. The queues are those of
    the global batch: every replica enqueues the same gathered rows into a copy of its own, so the copies stay equal without
    a word between replicas.

    That only labelled images are queued, and Q = 20·N, is second-hand; quotas are decided here (docs/reference/method.md).

    Variables: embeddings `[L, Q, D]`; labels `[Q]` int32, NO_LABEL where empty; groups `[Q]` int64; pointer, the next slot: a
    scalar, or with quotas `[C]`, each within its class's slots.

    Args:
        num_queues: L, one per large view.
        capacity: Q, slots per queue.
        width: D of the embeddings.
        num_quotas: C, classes of which each has its own Q // C slots, a queue within the queue; 0: all share all slots.

    Raises:
        ValueError: if there are fewer slots than quotas.
    """

    def __init__(self, num_queues: int, capacity: int, width: int, num_quotas: int = 0, **kwargs: Any) -> None:
        if not 0 <= num_quotas <= capacity:
            raise ValueError(
                f"--queue_size must be at least the {num_quotas} classes with quotas. Received: {capacity}"
            )
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.num_queues = num_queues
        self.capacity = capacity
        self.width = width
        self.num_quotas = num_quotas
        self.embeddings = self._state("embeddings", [num_queues, capacity, width], tf.float32, 0)
        self.labels = self._state("labels", [capacity], tf.int32, NO_LABEL)
        self.ids = self._state("ids", [capacity], tf.int64, -1)  # `groups`, under the name that checkpoints have
        self.pointer = self._state("pointer", [num_quotas] if num_quotas else [], tf.int32, 0)

    @property
    def groups(self) -> tf.Variable:
        """The group of each slot's image: int64 of shape `[Q]`."""
        return self.ids

    def _state(self, name: str, shape: list[int], dtype: tf.DType, fill: int) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer=tf.keras.initializers.Constant(fill),
            trainable=False,
        )

    def enqueue(self, embeddings: tf.Tensor, labels: tf.Tensor, groups: tf.Tensor) -> None:
        """Adds the labelled images of one global batch, over the oldest entries.

        Args:
            embeddings: `[L, n, D]` unit-norm target projections, n ≤ Q.
            labels: `[n]` int32.
            groups: `[n]` int64, equal where two images show the same thing.

        Raises:
            ValueError: if the batch does not fit the queue.
        """
        count = labels.shape[0]
        if count > self.capacity:
            raise ValueError(f"A batch must fit the queue: at most capacity={self.capacity} rows. Received: {count}")
        if count == 0:
            return
        embeddings = tf.stop_gradient(tf.cast(embeddings, self.embeddings.dtype))
        if self.num_quotas:
            self._replace_by_quota(embeddings, labels, groups)
            return
        slots = (self.pointer + tf.range(count)) % self.capacity  # [n]
        queues, places = tf.meshgrid(tf.range(self.num_queues), slots, indexing="ij")
        self.embeddings.assign(tf.tensor_scatter_nd_update(self.embeddings, tf.stack([queues, places], -1), embeddings))
        self.labels.assign(tf.tensor_scatter_nd_update(self.labels, slots[:, tf.newaxis], labels))
        self.ids.assign(tf.tensor_scatter_nd_update(self.ids, slots[:, tf.newaxis], groups))
        self.pointer.assign((self.pointer + count) % self.capacity)

    def _replace_by_quota(self, embeddings: tf.Tensor, labels: tf.Tensor, groups: tf.Tensor) -> None:
        """Adds rows, each over the oldest entry of its class."""
        slots, pointers = quota_slots(labels, self.pointer, quota=self.capacity // self.num_quotas)
        rows = tf.range(labels.shape[0])
        latest = tf.math.unsorted_segment_max(rows, slots, self.capacity)  # [Q]; negative where none comes
        replaced, rows = latest >= 0, tf.maximum(latest, 0)
        self.embeddings.assign(tf.where(replaced[:, tf.newaxis], tf.gather(embeddings, rows, axis=1), self.embeddings))
        self.labels.assign(tf.where(replaced, tf.gather(labels, rows), self.labels))
        self.ids.assign(tf.where(replaced, tf.gather(groups, rows), self.ids))
        self.pointer.assign(pointers)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the same layer."""
        config: dict[str, Any] = super().get_config()
        config.update(num_queues=self.num_queues, capacity=self.capacity, width=self.width, num_quotas=self.num_quotas)
        config.pop("trainable", None)
        config.pop("dtype", None)
        return config


def quota_slots(labels: tf.Tensor, pointers: tf.Tensor, *, quota: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Says where the rows of a batch go: class c's slots are `c · quota` and the following, taken in turn.

    Args:
        labels: `[n]` int32 classes, in 0..C−1.
        pointers: `[C]` int32, how far into its slots each class is.
        quota: slots per class.

    Returns:
        `[n]` int32 slots, of which one can come twice: the later row is then the one to keep; and the new pointers.
    """
    ones = tf.one_hot(labels, pointers.shape[0], dtype=tf.int32)  # [n,C]
    earlier = tf.reduce_sum(tf.cumsum(ones, axis=0, exclusive=True) * ones, axis=1)  # [n], rows of its class before it
    slots = labels * quota + (tf.gather(pointers, labels) + earlier) % quota
    return slots, (pointers + tf.reduce_sum(ones, axis=0)) % quota
