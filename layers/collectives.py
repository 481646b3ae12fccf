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

    Args:
        value: rows of this replica along `axis`, B of them, the labelled ones first.
        axis: the axis of the rows.
        num_labelled: how many of the B rows are labelled; static.

    Returns:
        The same with N = B · replicas rows along `axis`, labelled ones first. Static shape.
    """
    replicas = num_replicas()
    context = tf.distribute.get_replica_context()
    if replicas == 1 or context is None:
        return value
    batch = value.shape[axis]
    gathered = context.all_gather(tf.identity(value), axis=axis)
    rows = tf.constant(canonical_order(batch, num_labelled, replicas))
    shape = value.shape.as_list()
    shape[axis] = batch * replicas
    return tf.ensure_shape(tf.gather(gathered, rows, axis=axis), shape)


def canonical_order(batch: int, num_labelled: int, replicas: int) -> list[int]:
    """Returns, for each canonical row, its place in the plain concatenation of the replicas' rows."""
    labelled = [r * batch + b for r in range(replicas) for b in range(num_labelled)]
    unlabelled = [r * batch + b for r in range(replicas) for b in range(num_labelled, batch)]
    return labelled + unlabelled


def local_rows(batch: int, num_labelled: int) -> tf.Tensor:
    """Returns the canonical positions of this replica's rows: `[B]`, int32, in 0..N-1."""
    labelled = replica_id() * num_labelled + tf.range(num_labelled)
    num_unlabelled = batch - num_labelled
    unlabelled = num_replicas() * num_labelled + replica_id() * num_unlabelled + tf.range(num_unlabelled)
    return tf.concat([labelled, unlabelled], axis=0)
