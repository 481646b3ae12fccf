"""Tests of semppl.layers.negatives."""

import itertools
from collections import Counter

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers import negatives, randomness

_REPEATED = (40, 7, 7, 31, 12, 7, 40, 25, 3)  # image 7 three times, image 40 twice


def _draw(groups, numbers, rows=None):
    rows = range(len(groups)) if rows is None else rows
    return negatives.draw_negatives(
        tf.constant(groups, tf.int64), tf.constant(list(rows), tf.int32), tf.constant(numbers, tf.int32)
    ).numpy()


def _numbers(*shape, step=0):
    return randomness.random_integers(list(shape), seed=0, purpose="negatives", step=tf.constant(step)).numpy()


def _oracle(groups, row, numbers):
    """Deals the rows of other images from a hat in which they lie in the order of their groups; from an empty one, any of them."""
    others = sorted(
        (other for other in range(len(groups)) if groups[other] != groups[row]), key=lambda other: groups[other]
    )
    hat = list(others)
    return [hat.pop(int(number) % len(hat)) if hat else others[int(number) % len(others)] for number in numbers]


def _chi_square(counts, num_cells):
    """Returns how far counts are from equal, in standard deviations of a χ² of num_cells − 1 degrees of freedom."""
    expected = sum(counts.values()) / num_cells
    statistic = sum((counts[cell] - expected) ** 2 / expected for cell in counts)
    statistic += (num_cells - len(counts)) * expected
    return (statistic - (num_cells - 1)) / np.sqrt(2 * (num_cells - 1))


class DrawNegativesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(
        groups=[tuple(range(8)), (5, 2, 9, 0, 7, 3), _REPEATED], num_negatives=[1, 2, 5], view_shape=[(), (3,), (2, 2)]
    )
    def test_draws_match_a_hat(self, groups, num_negatives, view_shape):
        numbers = _numbers(len(groups), *view_shape, num_negatives)
        drawn = _draw(groups, numbers)
        self.assertEqual(drawn.shape, numbers.shape)
        self.assertEqual(drawn.dtype, np.int32)
        for row, *view in np.ndindex(len(groups), *view_shape):
            self.assertAllEqual(drawn[(row, *view)], _oracle(groups, row, numbers[(row, *view)]))

    def test_no_image_is_its_own_negative_even_where_it_stands_twice(self):
        drawn = _draw(_REPEATED, _numbers(len(_REPEATED), 50, 4))
        for row, rows in enumerate(drawn):
            self.assertNotIn(_REPEATED[row], {_REPEATED[other] for other in rows.flat})

    def test_no_row_is_drawn_twice_for_an_image_and_view(self):
        drawn = _draw(_REPEATED, _numbers(len(_REPEATED), 50, 6))
        for places in drawn.reshape(-1, 6):
            self.assertLen(set(places), 6)

    def test_rows_of_others_are_drawn_equally_often(self):
        groups, trials = (4, 1, 4, 3, 0, 2), 4000
        drawn = _draw(groups, _numbers(6, trials, 2))
        for row in range(6):
            others = [other for other in range(6) if groups[other] != groups[row]]
            pairs = list(itertools.permutations(others, 2))
            counts = Counter(map(tuple, drawn[row]))
            self.assertContainsSubset(counts, pairs)
            self.assertBetween(_chi_square(counts, len(pairs)), -3, 3)

    def test_a_whole_batch_of_others_is_drawn_in_every_order_equally_often(self):
        drawn = _draw(range(5), _numbers(5, 5000, 4))
        for row in range(5):
            self.assertBetween(_chi_square(Counter(map(tuple, drawn[row])), 24), -3, 3)

    def test_views_and_images_draw_by_themselves(self):
        # Of 15 others both views of an image draw the same one in 1/15 of all cases, and so do two images with 14 in common.
        drawn = _draw(range(16), np.stack([_numbers(16, 2, 1, step=step) for step in range(400)], axis=1))[..., 0]
        same = np.mean(drawn[..., 0] == drawn[..., 1])  # of 6400, with a standard deviation of 0.003
        self.assertBetween(same, 1 / 15 - 0.01, 1 / 15 + 0.01)
        same = np.mean(drawn[0, :, 0] == drawn[1, :, 0])  # of 400: 14/225 with a standard deviation of 0.012
        self.assertBetween(same, 14 / 225 - 0.04, 14 / 225 + 0.04)

    def test_a_replica_draws_for_its_own_rows_of_the_global_batch(self):
        numbers = _numbers(len(_REPEATED), 2, 3)
        rows = [1, 4, 8, 0]
        self.assertAllEqual(_draw(_REPEATED, numbers[rows], rows), _draw(_REPEATED, numbers)[rows])

    def test_too_few_others_are_all_drawn_before_any_is_repeated(self):
        groups = (6, 6, 1, 9, 6)  # two others for image 6, four for the rest
        numbers = _numbers(5, 30, 7)
        drawn = _draw(groups, numbers)
        for row, *view in np.ndindex(5, 30):
            others = {other for other in range(5) if groups[other] != groups[row]}
            self.assertEqual(set(drawn[(row, *view)][: len(others)]), others)
            self.assertAllEqual(drawn[(row, *view)], _oracle(groups, row, numbers[(row, *view)]))

    def test_repeats_are_drawn_equally_often(self):
        drawn = _draw(range(4), _numbers(4, 2000, 5))[..., 3:]  # three others, then two repeats
        for row in range(4):
            counts = Counter(map(tuple, drawn[row]))
            self.assertBetween(_chi_square(counts, 9), -3, 3)

    def test_a_batch_of_one_image_alone_stays_within_the_batch(self):
        drawn = _draw((3, 3, 3), _numbers(3, 4, 2))
        self.assertAllInRange(drawn, 0, 2)

    @parameterized.parameters(0, 2**31 - 1)
    def test_the_largest_and_smallest_numbers_stay_within_the_batch(self, number):
        drawn = _draw(_REPEATED, np.full((len(_REPEATED), 4), number))
        for row in range(len(_REPEATED)):
            self.assertAllEqual(drawn[row], _oracle(_REPEATED, row, [number] * 4))

    def test_ids_beyond_31_bits_are_told_apart(self):
        groups = [2**40 + 1, 1, 2**40 + 2]
        self.assertAllEqual(np.sort(_draw(groups, _numbers(3, 2))), [[1, 2], [0, 2], [0, 1]])

    @parameterized.parameters(False, True)
    def test_graph_and_xla_draw_what_eager_draws(self, jit_compile):
        numbers = _numbers(len(_REPEATED), 2, 5)
        compiled = tf.function(negatives.draw_negatives, jit_compile=jit_compile)
        rows = tf.range(len(_REPEATED))
        drawn = compiled(tf.constant(_REPEATED, tf.int64), rows, tf.constant(numbers))
        self.assertEqual(drawn.shape, [9, 2, 5])
        self.assertAllEqual(drawn, _draw(_REPEATED, numbers))


class ExclusionKeysTest(tf.test.TestCase, parameterized.TestCase):
    def _keys(self, groups, labels, classes, jit_compile=None):
        function = negatives.exclusion_keys
        if jit_compile is not None:
            function = tf.function(function, jit_compile=jit_compile)
        arrays = tf.constant(groups, tf.int64), tf.constant(labels, tf.int32), tf.constant(classes, tf.int32)
        return function(*arrays, num_classes=4)

    def test_images_of_one_class_have_one_key_and_images_without_a_class_that_of_their_group(self):
        keys = self._keys([9, 5, 7, 6, 8], [2, -1, -1, -1, -1], [2, 0, 2, -1, -1])
        self.assertAllEqual(keys, [-3, -1, -3, 6, 8])

    def test_copies_of_an_image_have_the_key_of_its_label_or_else_of_its_largest_pseudo_label(self):
        # Image 5 is labelled once and voted otherwise; image 6 is voted twice; image 7 abstains once.
        keys = self._keys([5, 6, 7, 5, 6, 7], [1, -1, -1, -1, -1, -1], [1, 0, 2, 3, 2, -1])
        self.assertAllEqual(keys, [-2, -3, -3, -2, -3, -3])

    def test_in_a_batch_of_one_class_every_other_image_stays_a_negative(self):
        self.assertAllEqual(self._keys([5, 6, 7], [3, -1, -1], [3, 3, 3]), [5, 6, 7])
        self.assertAllEqual(self._keys([5, 6, 7], [3, -1, -1], [3, 3, -1]), [-4, -4, 7])

    @parameterized.parameters(False, True)
    def test_graph_and_xla_give_what_plain_loops_give(self, jit_compile):
        rng = np.random.default_rng(0)
        groups, classes = rng.integers(0, 12, 30), rng.integers(-1, 4, 30)
        labels = np.where(rng.uniform(size=30) < 0.3, classes, -1)
        expected = []
        for group in groups:
            copies = [row for row in range(30) if groups[row] == group]
            known = [labels[row] for row in copies if labels[row] >= 0] or [classes[row] for row in copies]
            expected.append(group if max(known) < 0 else -1 - max(known))
        self.assertAllEqual(self._keys(groups, labels, classes, jit_compile), expected)


if __name__ == "__main__":
    tf.test.main()
