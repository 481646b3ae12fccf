"""Communication between replicas; no other module has any.

The rows of a global batch have a *canonical* order: all labelled rows first (replica by replica),
then all unlabelled rows. A single replica holds them in this order; each of several replicas holds
`[labelled, unlabelled]` rows, and `gather_rows` restores the order. Sampling and the queue
therefore depend on the global batch alone, not on the number of replicas.
"""

import tensorflow as tf


def num_replicas() -> int:
    """Returns the number of replicas in sync; static."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def replica_id() -> tf.Tensor:
    """Returns this replica's number, 0..num_replicas-1, as int32."""
    context = tf.distribute.get_replica_context()
    if num_replicas() == 1 or context is None:
        return tf.constant(0, tf.int32)
    return tf.cast(context.replica_id_in_sync_group, tf.int32)


def all_reduce_sum(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of `value` over replicas, differentiable; `value` itself outside a replica context."""
    context = tf.distribute.get_replica_context()
    if num_replicas() == 1 or context is None:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def gather_rows(value: tf.Tensor, *, axis: int, num_labelled: int) -> tf.Tensor:
    """Gathers rows of all replicas into canonical order.

    Each replica scatters its rows into zeros, and the results are summed: exact, because every row
    is added to zeros alone. TensorFlow's own gather does not work in a step that XLA compiles for
    several GPUs.

    Args:
        value: Tensor with B rows of this replica along `axis`, the labelled ones first.
        axis: Axis of the rows.
        num_labelled: Number of labelled rows among the B; static.

    Returns:
        Tensor with N = B · replicas rows along `axis`, the labelled ones first; static shape.
    """
    if num_replicas() == 1 or tf.distribute.get_replica_context() is None:
        return value
    if value.dtype == tf.int64:  # in halves: TPUs cannot sum 64-bit integers
        halves = tf.bitcast(value, tf.int32)
        return tf.bitcast(gather_rows(halves, axis=axis, num_labelled=num_labelled), tf.int64)
    batch = value.shape[axis]
    swapped = [axis, *range(1, axis), 0, *range(axis + 1, value.shape.rank)] if axis else list(range(value.shape.rank))
    rows_first = tf.transpose(value, swapped)
    positions = local_rows(batch, num_labelled)[:, tf.newaxis]
    scattered = tf.scatter_nd(positions, rows_first, [batch * num_replicas(), *rows_first.shape[1:]])
    return tf.transpose(all_reduce_sum(scattered), swapped)


def local_rows(batch: int, num_labelled: int) -> tf.Tensor:
    """Returns the canonical positions of this replica's rows: `[B]`, int32, in 0..N-1."""
    labelled = replica_id() * num_labelled + tf.range(num_labelled)
    num_unlabelled = batch - num_labelled
    unlabelled = num_replicas() * num_labelled + replica_id() * num_unlabelled + tf.range(num_unlabelled)
    return tf.concat([labelled, unlabelled], axis=0)
