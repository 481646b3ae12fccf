"""Tests of semppl.layers.semantic_positives."""

from collections import Counter

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers import randomness, semantic_positives
from semppl.layers.labels import NO_LABEL

_QUEUE = (2, NO_LABEL, 0, 2, 5, NO_LABEL, 0, 2, NO_LABEL)


def _draw(classes, queue_labels, numbers):
    positives = semantic_positives.draw_semantic_positives(
        tf.constant(classes, tf.int32), tf.constant(queue_labels, tf.int32), tf.constant(numbers, tf.int32)
    )
    return positives.slots.numpy(), positives.present.numpy()


def _numbers(*shape, step=0):
    return randomness.random_integers(list(shape), seed=0, purpose="semantic_positives", step=tf.constant(step)).numpy()


def _oracle(label, queue_labels, numbers):
    """Lists the slots of a class and points at one of them with each number."""
    slots = [slot for slot in range(len(queue_labels)) if queue_labels[slot] == label and label != NO_LABEL]
    return [slots[int(number) % len(slots)] if slots else 0 for number in numbers], bool(slots)


class EntriesTest(tf.test.TestCase):
    def test_every_slot_is_looked_up_in_its_queue(self):
        queues = np.random.default_rng(0).normal(size=(2, 5, 3))
        slots = np.array([[[0, 4, 4], [1, 1, 2]], [[3, 0, 2], [4, 0, 0]]])  # [B,L,R]
        found = semantic_positives.entries_at(tf.constant(queues), tf.constant(slots))
        for b in range(2):
            for view in range(2):
                for r in range(3):
                    self.assertAllEqual(found[b, view, r], queues[view, slots[b, view, r]])


class DrawSemanticPositivesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(
        queue_labels=[_QUEUE, (1, 1, 1), (NO_LABEL,) * 4, (3,), (0, 1, 2, 5)], view_shape=[(), (2,), (2, 3)]
    )
    def test_draws_match_plain_loops(self, queue_labels, view_shape):
        classes = [NO_LABEL, 0, 1, 2, 3, 4, 5, 6]
        numbers = _numbers(len(classes), *view_shape, 3)
        slots, present = _draw(classes, queue_labels, numbers)
        self.assertEqual((slots.dtype, present.dtype), (np.int32, np.bool_))
        self.assertEqual((slots.shape, present.shape), (numbers.shape, (len(classes),)))
        for image, *view in np.ndindex(len(classes), *view_shape):
            expected, any_slot = _oracle(classes[image], queue_labels, numbers[(image, *view)])
            self.assertAllEqual(slots[(image, *view)], expected)
            self.assertEqual(present[image], any_slot)

    def test_an_image_without_class_never_takes_an_empty_slot(self):
        slots, present = _draw([NO_LABEL, NO_LABEL], (NO_LABEL, 4, NO_LABEL), _numbers(2, 3))
        self.assertAllEqual(present, [False, False])
        self.assertAllEqual(slots, np.zeros((2, 3)))

    def test_where_none_is_asked_for_none_is_present(self):
        slots, present = _draw([0, 2, 5], _QUEUE, _numbers(3, 2, 0))
        self.assertEqual(slots.shape, (3, 2, 0))
        self.assertAllEqual(present, [False] * 3)

    def test_empty_slots_are_never_drawn(self):
        slots, _ = _draw([0, 2, 5], _QUEUE, _numbers(3, 200, 3))
        for image, label in enumerate((0, 2, 5)):
            self.assertEqual({_QUEUE[slot] for slot in slots[image].flat}, {label})

    def test_entries_of_a_class_are_drawn_equally_often_and_with_replacement(self):
        # The nine ordered pairs of three slots, 4500 draws: χ² of 8 degrees of freedom is below 26.1 in 99.9 % of all cases.
        slots, _ = _draw([2], _QUEUE, _numbers(1, 4500, 2))
        counts = Counter(map(tuple, slots[0]))
        self.assertCountEqual(counts, [(first, second) for first in (0, 3, 7) for second in (0, 3, 7)])
        statistic = sum((count - 500) ** 2 / 500 for count in counts.values())
        self.assertBetween(statistic, 1.0, 26.1)

    @parameterized.parameters(0, 2**31 - 1)
    def test_the_largest_and_smallest_numbers_stay_within_the_class(self, number):
        slots, present = _draw([0, 2, 5, 9], _QUEUE, np.full((4, 2), number))
        self.assertAllEqual(present, [True, True, True, False])
        self.assertAllEqual(slots, [_oracle(label, _QUEUE, [number] * 2)[0] for label in (0, 2, 5, 9)])

    @parameterized.parameters(False, True)
    def test_graph_and_xla_draw_what_eager_draws(self, jit_compile):
        classes, numbers = [2, NO_LABEL, 0, 7], _numbers(4, 2, 3)
        compiled = tf.function(semantic_positives.draw_semantic_positives, jit_compile=jit_compile)
        slots, present = compiled(tf.constant(classes), tf.constant(_QUEUE), tf.constant(numbers))
        self.assertEqual(slots.shape, [4, 2, 3])
        expected_slots, expected_present = _draw(classes, _QUEUE, numbers)
        self.assertAllEqual(slots, expected_slots)
        self.assertAllEqual(present, expected_present)


if __name__ == "__main__":
    tf.test.main()
