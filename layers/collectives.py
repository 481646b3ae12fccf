"""The only place where replicas talk to each other.

Rows of a global batch stand in *canonical* order: all labelled rows first (replica by replica), then all unlabelled rows.
One replica has them so already; several replicas hold `[labelled, unlabelled]` each, and `gather_rows` puts them in order.
So negatives, draws and the queue depend on the global batch alone, not on the number of replicas.
"""

import tensorflow as tf


def num_replicas() -> int:
    """Returns how many replicas run in sync; static."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def replica_id() -> tf.Tensor:
    """Returns this replica's number, 0..num_replicas-1, as int32."""
    context = tf.distribute.get_replica_context()
    if num_replicas() == 1 or context is None:
        return tf.constant(0, tf.int32)
    return tf.cast(context.replica_id_in_sync_group, tf.int32)


def all_reduce_sum(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of `value` over replicas; differentiable. Outside replicas: `value`."""
    context = tf.distribute.get_replica_context()
    if num_replicas() == 1 or context is None:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def gather_rows(value: tf.Tensor, *, axis: int, num_labelled: int) -> tf.Tensor:
    """Gathers rows of all replicas into canonical order.

    Each replica puts its rows where they belong, among zeros, and all are added up: exact, for nothing is added but zeros. A
    gather would do, but TensorFlow has none inside a step that XLA compiles for several GPUs.

    Args:
        value: rows of this replica along `axis`, B of them, the labelled ones first.
        axis: the axis of the rows.
        num_labelled: how many of the B rows are labelled; static.

    Returns:
        The same with N = B · replicas rows along `axis`, labelled ones first. Static shape.
    """
    if num_replicas() == 1 or tf.distribute.get_replica_context() is None:
        return value
    if value.dtype == tf.int64:  # in halves: TPUs add up no 64-bit integers
        halves = tf.bitcast(value, tf.int32)
        return tf.bitcast(gather_rows(halves, axis=axis, num_labelled=num_labelled), tf.int64)
    batch = value.shape[axis]
    swapped = [axis, *range(1, axis), 0, *range(axis + 1, value.shape.rank)] if axis else list(range(value.shape.rank))
    rows_first = tf.transpose(value, swapped)
    places = local_rows(batch, num_labelled)[:, tf.newaxis]
    among_zeros = tf.scatter_nd(places, rows_first, [batch * num_replicas(), *rows_first.shape[1:]])
    return tf.transpose(all_reduce_sum(among_zeros), swapped)


def local_rows(batch: int, num_labelled: int) -> tf.Tensor:
    """Returns the canonical positions of this replica's rows: `[B]`, int32, in 0..N-1."""
    labelled = replica_id() * num_labelled + tf.range(num_labelled)
    num_unlabelled = batch - num_labelled
    unlabelled = num_replicas() * num_labelled + replica_id() * num_unlabelled + tf.range(num_unlabelled)
    return tf.concat([labelled, unlabelled], axis=0)
