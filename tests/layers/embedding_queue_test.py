"""Tests of semppl.layers.embedding_queue."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers import embedding_queue
from semppl.layers.labels import NO_LABEL
from semppl.tests import numpy_method, testing


def _batches(sizes, width=3, num_queues=2):
    rng = np.random.default_rng(0)
    for number, size in enumerate(sizes):
        embeddings = rng.standard_normal((num_queues, size, width)).astype(np.float32)
        groups = (np.arange(size) + 100 * number).astype(np.int64)
        yield embeddings, rng.integers(0, 5, size).astype(np.int32), groups


def _entries(queue, view):
    """Lists the filled slots of one view's queue, oldest first."""
    capacity, pointer = queue.capacity, int(queue.pointer)
    labels, groups, embeddings = queue.labels.numpy(), queue.groups.numpy(), queue.embeddings.numpy()
    slots = [(pointer + offset) % capacity for offset in range(capacity)]
    return [(embeddings[view, s], labels[s], groups[s]) for s in slots if labels[s] != NO_LABEL]


class EmbeddingQueueTest(tf.test.TestCase, parameterized.TestCase):
    def _assert_equal(self, queue, expected):
        for view, entries in enumerate(expected):
            found = _entries(queue, view)
            self.assertLen(found, len(entries))
            for (embedding, label, group), entry in zip(found, entries, strict=True):
                self.assertAllEqual(embedding, entry.embedding)
                self.assertEqual((label, group), (entry.label, entry.group))

    def test_a_new_queue_is_empty(self):
        queue = embedding_queue.EmbeddingQueue(2, 5, 3)
        self.assertAllEqual(queue.labels, [NO_LABEL] * 5)
        self.assertAllEqual(queue.groups, [-1] * 5)
        self.assertAllEqual(queue.embeddings, np.zeros((2, 5, 3)))
        self.assertAllEqual(queue.pointer, 0)
        dtypes = [variable.dtype for variable in (queue.embeddings, queue.labels, queue.groups, queue.pointer)]
        self.assertEqual(dtypes, [tf.float32, tf.int32, tf.int64, tf.int32])

    @parameterized.named_parameters(
        ("of equal batches that fit", 6, (2,) * 7),
        ("that wraps within a batch", 5, (2,) * 8),
        ("of the largest batches", 4, (4, 4, 4)),
        ("of batches of many sizes", 7, (3, 1, 5, 7, 2, 6, 0, 4)),
    )
    def test_the_oldest_leave_first(self, capacity, sizes):
        queue = embedding_queue.EmbeddingQueue(2, capacity, 3)
        expected = [[], []]
        for embeddings, labels, groups in _batches(sizes):
            queue.enqueue(tf.constant(embeddings), tf.constant(labels), tf.constant(groups))
            expected = [
                numpy_method.enqueue(entries, embeddings[view], labels, groups, capacity=capacity)
                for view, entries in enumerate(expected)
            ]
            self._assert_equal(queue, expected)
            self.assertLess(int(queue.pointer), capacity)  # else it overflows in a long run

    @parameterized.product(jit_compile=[False, True], num_quotas=[0, 5])
    def test_graph_and_xla_fill_as_eager_does(self, jit_compile, num_quotas):
        eager, compiled = (embedding_queue.EmbeddingQueue(2, 5, 3, num_quotas) for _ in range(2))
        enqueue = tf.function(compiled.enqueue, jit_compile=jit_compile)
        for batch in _batches((2, 2, 2, 2)):
            eager.enqueue(*map(tf.constant, batch))
            enqueue(*map(tf.constant, batch))
        for its, expected in zip(compiled.variables, eager.variables, strict=True):
            self.assertAllEqual(its, expected)

    @parameterized.parameters((10, (3, 1, 5, 7, 2, 6, 0, 4)), (5, (5, 5, 5)), (17, (16, 9, 9)))
    def test_with_quotas_the_oldest_of_the_same_class_leave_first(self, capacity, sizes):
        # Five classes, each with a queue of its own of a fifth of the slots.
        queue, quota = embedding_queue.EmbeddingQueue(2, capacity, 3, num_quotas=5), capacity // 5
        expected = {(view, label): [] for view in range(2) for label in range(5)}
        for embeddings, labels, groups in _batches(sizes):
            queue.enqueue(tf.constant(embeddings), tf.constant(labels), tf.constant(groups))
            for view, label in expected:
                chosen = labels == label
                entries = embeddings[view][chosen], labels[chosen], groups[chosen]
                expected[view, label] = numpy_method.enqueue(expected[view, label], *entries, capacity=quota)
            for (view, label), entries in expected.items():
                block = [label * quota + (int(queue.pointer[label]) + age) % quota for age in range(quota)]
                filled = [slot for slot in block if queue.labels[slot] != NO_LABEL]
                self.assertAllEqual([queue.groups[slot] for slot in filled], [entry.group for entry in entries])
                self.assertAllEqual([queue.labels[slot] for slot in filled], [label] * len(entries))
                if entries:
                    found = np.stack([queue.embeddings[view, slot] for slot in filled])
                    self.assertAllEqual(found, np.stack([entry.embedding for entry in entries]))
        self.assertAllEqual(queue.labels[5 * quota :], [NO_LABEL] * (capacity - 5 * quota))

    def test_a_rare_class_keeps_its_entries_whatever_comes(self):
        queue = embedding_queue.EmbeddingQueue(1, 6, 2, num_quotas=2)
        queue.enqueue(tf.ones([1, 1, 2]), tf.constant([1]), tf.constant([77], tf.int64))
        for number in range(5):
            queue.enqueue(tf.zeros([1, 6, 2]), tf.zeros([6], tf.int32), tf.range(6, dtype=tf.int64) + 6 * number)
        self.assertAllEqual(queue.groups[3:], [77, -1, -1])
        self.assertCountEqual(queue.groups[:3].numpy(), [27, 28, 29])

    def test_fewer_slots_than_classes_are_refused(self):
        with self.assertRaisesRegex(
            ValueError, "^--queue_size must be at least the 5 classes with quotas. Received: 4"
        ):
            embedding_queue.EmbeddingQueue(2, 4, 3, num_quotas=5)

    def test_a_batch_larger_than_the_queue_is_refused_before_anything_changes(self):
        queue = embedding_queue.EmbeddingQueue(2, 5, 3)
        (batch,) = _batches((6,))
        with self.assertRaisesRegex(ValueError, "at most capacity=5 rows. Received: 6"):
            queue.enqueue(*map(tf.constant, batch))
        self.assertAllEqual(queue.labels, [NO_LABEL] * 5)

    def test_nothing_in_the_queue_is_trained(self):
        queue = embedding_queue.EmbeddingQueue(2, 5, 3)
        self.assertEmpty(queue.trainable_variables)
        self.assertLen(queue.non_trainable_variables, 4)

    def test_no_gradient_flows_through_the_queue(self):
        queue = embedding_queue.EmbeddingQueue(1, 4, 2)
        embeddings = tf.Variable([[[0.6, 0.8]]])
        with tf.GradientTape() as tape:
            tape.watch(queue.embeddings)
            queue.enqueue(2 * embeddings, tf.constant([1]), tf.constant([1], tf.int64))
            total = tf.reduce_sum(queue.embeddings)
        self.assertAllClose(total, 2.8, rtol=1e-6, atol=0)
        self.assertIsNone(tape.gradient(total, embeddings))

    @parameterized.parameters(tf.bfloat16, tf.float64)
    def test_embeddings_are_kept_in_float32_whatever_comes(self, dtype):
        queue = embedding_queue.EmbeddingQueue(1, 4, 2)
        queue.enqueue(tf.constant([[[0.5, -0.25]]], dtype), tf.constant([1]), tf.constant([1], tf.int64))
        self.assertEqual(queue.embeddings.dtype, tf.float32)
        self.assertAllEqual(queue.embeddings[0, 0], [0.5, -0.25])

    @parameterized.parameters((2, 0), (4, 0), (2, 5))
    def test_every_replica_holds_the_same_queue(self, replicas, num_quotas):
        strategy = testing.replicas(replicas)
        with strategy.scope():
            queue = embedding_queue.EmbeddingQueue(2, 5, 3, num_quotas)
        alone = embedding_queue.EmbeddingQueue(2, 5, 3, num_quotas)
        step = tf.function(lambda *batch: strategy.run(queue.enqueue, args=batch))
        for batch in _batches((2, 2, 2, 2)):
            step(*map(tf.constant, batch))
            alone.enqueue(*map(tf.constant, batch))
        for variable, expected in zip(queue.variables, alone.variables, strict=True):
            self.assertLen(strategy.experimental_local_results(variable), replicas)
            for copy in strategy.experimental_local_results(variable):
                self.assertAllEqual(copy, expected)

    @parameterized.parameters(0, 5)
    def test_a_queue_goes_on_from_its_checkpoint(self, num_quotas):
        first, *rest = _batches((2, 2, 2))
        queue, resumed = (embedding_queue.EmbeddingQueue(2, 5, 3, num_quotas) for _ in range(2))
        queue.enqueue(*map(tf.constant, first))
        path = tf.train.Checkpoint(queue=queue).save(self.create_tempdir().full_path + "/queue")
        tf.train.Checkpoint(queue=resumed).restore(path).assert_consumed()
        for batch in rest:
            queue.enqueue(*map(tf.constant, batch))
            resumed.enqueue(*map(tf.constant, batch))
        for its, expected in zip(resumed.variables, queue.variables, strict=True):
            self.assertAllEqual(its, expected)


if __name__ == "__main__":
    tf.test.main()
