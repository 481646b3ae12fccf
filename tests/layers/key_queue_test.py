"""Tests of semppl.layers.key_queue."""

import numpy as np
import tensorflow as tf

from semppl.layers.key_queue import KeyQueue


def _rows(first, count):
    """Makes rows `[2, count, 3]` that say which they are: number n in the first queue, −n in the second."""
    numbers = np.arange(first, first + count, dtype=np.float32)
    return tf.constant(np.stack([numbers, -numbers])[..., np.newaxis] * np.ones(3, np.float32))


class KeyQueueTest(tf.test.TestCase):
    def test_the_latest_rows_replace_the_oldest(self):
        queue = KeyQueue(2, 5, 3)
        held = list(queue.keys[0, :, 1].numpy())
        first = 1
        for count in (2, 2, 3, 5, 1):  # wraps in the third, fills in the fourth
            queue.enqueue(_rows(first, count))
            for number in range(first, first + count):
                held[(number - 1) % 5] = number
            first += count
            self.assertAllEqual(queue.keys[0, :, 1], held)
        self.assertAllEqual(queue.keys[1], -queue.keys[0])

    def test_a_batch_larger_than_the_queue_is_refused(self):
        with self.assertRaisesRegex(ValueError, "^A batch must fit the queue: at most capacity=5 rows. Received: 6$"):
            KeyQueue(2, 5, 3).enqueue(_rows(0, 6))

    def test_a_new_queue_holds_unit_norm_directions_that_are_always_the_same(self):
        queue = KeyQueue(2, 500, 3)
        self.assertAllClose(tf.norm(queue.keys, axis=-1), np.ones([2, 500]), rtol=1e-5)
        self.assertAllClose(tf.reduce_mean(queue.keys, axis=1), np.zeros([2, 3]), atol=0.1)
        self.assertAllEqual(queue.keys, KeyQueue(2, 500, 3).keys)

    def test_the_nearest_entry_of_the_first_queue_is_found_without_gradient(self):
        queue = KeyQueue(2, 4, 3)
        queue.keys.assign(np.stack([np.eye(4, 3, -1), np.ones([4, 3])]))
        embeddings = tf.constant([[[0.1, 0.9, 0.2], [0.8, 0.1, 0.1]]])
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            nearest = queue.nearest(embeddings)
        self.assertAllEqual(nearest, [[[0, 1, 0], [1, 0, 0]]])
        self.assertIsNone(tape.gradient(nearest, embeddings))


if __name__ == "__main__":
    tf.test.main()
