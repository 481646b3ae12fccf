"""Tests of semppl.layers.collectives."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers import collectives
from semppl.tests import testing


def _per_replica(strategy, values):
    """Hands each replica its value."""
    if strategy.num_replicas_in_sync == 1:
        return tf.constant(values[0])
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(values[context.replica_id_in_sync_group])
    )


def _results(strategy, function, *values):
    """Runs a function in every replica, in a graph, and returns what each of them got."""
    arguments = [_per_replica(strategy, list(value)) for value in values]
    run = tf.function(lambda *arguments: strategy.experimental_local_results(strategy.run(function, args=arguments)))
    return [tf.nest.map_structure(lambda result: result.numpy(), result) for result in run(*arguments)]


def _shares(rows, replicas, num_labelled):
    """Deals canonical rows: every replica's labelled ones first, in turn, as its pipeline would."""
    labelled, unlabelled = rows[: replicas * num_labelled], rows[replicas * num_labelled :]
    return [
        np.concatenate([first, second])
        for first, second in zip(np.split(labelled, replicas), np.split(unlabelled, replicas), strict=True)
    ]


class CollectivesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(replicas=[1, 2, 4], num_labelled=[0, 1, 3])
    def test_every_replica_gathers_the_same_canonical_rows(self, replicas, num_labelled):
        strategy = testing.replicas(replicas)
        groups = np.random.default_rng(0).permutation(3 * replicas).astype(np.int64)
        targets = np.random.default_rng(1).standard_normal((2, 3 * replicas, 4)).astype(np.float32)
        shares = _shares(np.arange(3 * replicas), replicas, num_labelled)

        def gather(groups, targets):
            gathered = collectives.gather_rows(groups, axis=0, num_labelled=num_labelled)
            projections = collectives.gather_rows(targets, axis=1, num_labelled=num_labelled)
            self.assertEqual((gathered.shape, projections.shape), ([3 * replicas], [2, 3 * replicas, 4]))  # static
            return gathered, projections, collectives.local_rows(3, num_labelled)

        results = _results(strategy, gather, [groups[rows] for rows in shares], [targets[:, rows] for rows in shares])
        for (gathered, projections, local), rows in zip(results, shares, strict=True):
            self.assertEqual((gathered.dtype, projections.dtype, local.dtype), (np.int64, np.float32, np.int32))
            self.assertAllEqual(gathered, groups)
            self.assertAllEqual(projections, targets)
            self.assertAllEqual(local, rows)

    @parameterized.parameters(np.int64, np.int32, np.float32, np.float64)
    def test_no_integer_of_64_bits_is_summed_over_replicas(self, dtype):  # a TPU cannot
        rows = np.array([2**62 + 1, -1, 2**32, 5]).astype(dtype)
        summed = []
        reduce = collectives.all_reduce_sum

        def watched(value):
            summed.append(value.dtype.as_numpy_dtype)
            return reduce(value)

        with mock.patch.object(collectives, "all_reduce_sum", side_effect=watched):
            results = _results(
                testing.replicas(2),
                lambda share: collectives.gather_rows(share, axis=0, num_labelled=1),
                _shares(rows, 2, 1),
            )
        self.assertEqual(set(summed), {np.int32 if dtype == np.int64 else dtype})
        for gathered in results:
            self.assertEqual(gathered.dtype, dtype)
            self.assertAllEqual(gathered, rows)

    @parameterized.parameters(1, 2, 4)
    def test_replicas_know_their_number_and_how_many_they_are(self, replicas):
        strategy = testing.replicas(replicas)
        results = _results(strategy, lambda: (collectives.replica_id(), tf.constant(collectives.num_replicas())))
        self.assertEqual([int(number) for number, _ in results], list(range(replicas)))
        self.assertEqual([int(count) for _, count in results], [replicas] * replicas)
        self.assertEqual(results[0][0].dtype, np.int32)

    @parameterized.parameters(1, 2, 4)
    def test_sums_reach_every_replica(self, replicas):
        values = np.random.default_rng(2).standard_normal((replicas, 3)).astype(np.float32)
        for result in _results(testing.replicas(replicas), collectives.all_reduce_sum, values):
            self.assertAllClose(result, values.sum(0), rtol=1e-6, atol=1e-6)

    @parameterized.parameters(1, 2)
    def test_gradients_flow_back_through_the_sum(self, replicas):
        # Replica r's loss is (r + 1)·s² of the sum s: all losses together have the gradient 2s·Σ(r + 1) by each value.
        weights, values = np.arange(1.0, replicas + 1), np.array([0.5, 0.25, 1.0, 2.0])[:replicas]

        def gradient(weight, value):
            with tf.GradientTape() as tape:
                tape.watch(value)
                loss = weight * tf.square(collectives.all_reduce_sum(value))
            return tape.gradient(loss, value)

        results = _results(testing.replicas(replicas), gradient, weights, values)
        self.assertAllClose(results, [2 * values.sum() * weights.sum()] * replicas, rtol=1e-6, atol=0)

    def test_outside_replicas_a_value_is_the_whole(self):
        value = tf.constant([[1.0, 2.0]])
        with testing.two_replicas().scope():
            self.assertAllEqual(collectives.all_reduce_sum(value), value)
            self.assertAllEqual(collectives.gather_rows(value, axis=0, num_labelled=1), value)
            self.assertAllEqual(collectives.replica_id(), 0)


if __name__ == "__main__":
    tf.test.main()
