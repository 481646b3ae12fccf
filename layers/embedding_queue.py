"""The labelled memory: one first-in-first-out queue of target projections per large view."""

from typing import Any

import tensorflow as tf

from semppl.layers.labels import NO_LABEL


@tf.keras.saving.register_keras_serializable(package="semppl")
class EmbeddingQueue(tf.keras.layers.Layer):
    """Holds the target projections of the latest labelled images, with their labels and groups.

    A slot holds the same image in every queue, so labels and groups are stored once. The queues
    hold rows of the global batch: every replica enqueues the same gathered rows into its own copy,
    so the copies stay equal without communication.

    Queueing labelled images only, and Q = 20·N, come from a re-implementation; the quotas are ours
    (docs/reference/method.md).

    Variables: embeddings `[L, Q, D]`; labels `[Q]` int32, NO_LABEL where empty; groups `[Q]` int64;
    pointer, the next slot to fill: a scalar, or with quotas `[C]` offsets into the slots of each
    class.

    Args:
        num_queues: Number of queues L, one per large view.
        capacity: Number of slots Q per queue.
        width: Width D of the embeddings.
        num_quotas: Number of classes C that have Q // C slots each, first in, first out per class;
            0 (the default) shares all slots.

    Raises:
        ValueError: If `capacity` is less than `num_quotas`.
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
        self.ids = self._state("ids", [capacity], tf.int64, -1)  # checkpoints call the groups `ids`
        self.pointer = self._state("pointer", [num_quotas] if num_quotas else [], tf.int32, 0)

    @property
    def groups(self) -> tf.Variable:
        """The group of the image in each slot: int64 tensor of shape `[Q]`."""
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
        """Adds the labelled images of one global batch in place of the oldest entries.

        Args:
            embeddings: `[L, n, D]` unit-norm target projections, n ≤ Q.
            labels: `[n]` int32 classes.
            groups: `[n]` int64 groups, equal where two images show the same thing.

        Raises:
            ValueError: If the batch is larger than the queue.
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
        indices = tf.stack(tf.meshgrid(tf.range(self.num_queues), slots, indexing="ij"), axis=-1)  # [L,n,2]
        self.embeddings.assign(tf.tensor_scatter_nd_update(self.embeddings, indices, embeddings))
        self.labels.assign(tf.tensor_scatter_nd_update(self.labels, slots[:, tf.newaxis], labels))
        self.ids.assign(tf.tensor_scatter_nd_update(self.ids, slots[:, tf.newaxis], groups))
        self.pointer.assign((self.pointer + count) % self.capacity)

    def _replace_by_quota(self, embeddings: tf.Tensor, labels: tf.Tensor, groups: tf.Tensor) -> None:
        """Adds rows, each in place of the oldest entry of its class."""
        slots, pointers = quota_slots(labels, self.pointer, quota=self.capacity // self.num_quotas)
        rows = tf.range(labels.shape[0])
        latest = tf.math.unsorted_segment_max(rows, slots, self.capacity)  # [Q]; negative where no row goes
        replaced, rows = latest >= 0, tf.maximum(latest, 0)
        self.embeddings.assign(tf.where(replaced[:, tf.newaxis], tf.gather(embeddings, rows, axis=1), self.embeddings))
        self.labels.assign(tf.where(replaced, tf.gather(labels, rows), self.labels))
        self.ids.assign(tf.where(replaced, tf.gather(groups, rows), self.ids))
        self.pointer.assign(pointers)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        config.update(num_queues=self.num_queues, capacity=self.capacity, width=self.width, num_quotas=self.num_quotas)
        config.pop("trainable", None)
        config.pop("dtype", None)
        return config


def quota_slots(labels: tf.Tensor, pointers: tf.Tensor, *, quota: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the slots of a batch's rows: class c fills the slots from `c · quota` in turn.

    Args:
        labels: `[n]` int32 classes, in 0..C−1.
        pointers: `[C]` int32 offset of each class's next slot within its quota.
        quota: Number of slots per class.

    Returns:
        `[n]` int32 slots and `[C]` new pointers. Of two rows with the same slot, the later one is
        to be stored.
    """
    ones = tf.one_hot(labels, pointers.shape[0], dtype=tf.int32)  # [n,C]
    earlier = tf.reduce_sum(
        tf.cumsum(ones, axis=0, exclusive=True) * ones, axis=1
    )  # [n], number of earlier rows of the same class
    slots = labels * quota + (tf.gather(pointers, labels) + earlier) % quota
    return slots, (pointers + tf.reduce_sum(ones, axis=0)) % quota
