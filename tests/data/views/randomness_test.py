"""Tests of semppl.data.views.randomness."""

import math
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.data.views import randomness
from semppl.tests.data import modes

_MASK = 0xFFFFFFFF


def _words(*values):
    return tuple(tf.constant([value], tf.uint32) for value in values)


def _threefry(key, counter):
    """Twenty rounds in Python's own integers."""
    keys = [*key, key[0] ^ key[1] ^ 0x1BD11BDA]
    left, right = (counter[0] + keys[0]) & _MASK, (counter[1] + keys[1]) & _MASK
    for step in range(20):
        turn = ([13, 15, 26, 6], [17, 29, 16, 24])[step // 4 % 2][step % 4]
        left = (left + right) & _MASK
        right = left ^ ((right << turn | right >> (32 - turn)) & _MASK)
        if step % 4 == 3:
            number = step // 4 + 1
            left = (left + keys[number % 3]) & _MASK
            right = (right + keys[(number + 1) % 3] + number) & _MASK
    return left, right


def _distance(sample, cumulative):
    """Kolmogorov and Smirnov's largest gap between a sample's distribution and the expected one."""
    ordered = np.sort(np.ravel(sample)).astype(np.float64)
    ideal, steps = cumulative(ordered), np.arange(ordered.size + 1) / ordered.size
    return max(np.max(steps[1:] - ideal), np.max(ideal - steps[:-1]))


def _neighbours():
    return tf.stack([tf.zeros(2000, tf.int32), tf.range(2000)], axis=1)


class ThreefryTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    )
    def test_the_published_answers_are_reproduced(self, key, counter, answer):  # Random123's known-answer vectors
        self.assertAllEqual(randomness.threefry2x32(_words(*key), _words(*counter)), [[answer[0]], [answer[1]]])

    def test_random_keys_and_counters_match_plain_integers(self):
        draws = np.random.default_rng(0).integers(0, 2**32, (50, 4)).tolist()
        columns = [tf.constant(column, tf.uint32) for column in zip(*draws, strict=True)]
        left, right = randomness.threefry2x32((columns[0], columns[1]), (columns[2], columns[3]))
        expected = [_threefry(row[:2], row[2:]) for row in draws]
        self.assertAllEqual(tf.stack([left, right], axis=1), expected)


class UniformTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(tf.int32, tf.int64)
    def test_every_number_follows_from_the_seed_and_the_counter(self, dtype):
        numbers = randomness.uniform(tf.constant([[3, -4], [5, 6]], dtype), 77, [5])
        for row, (first, second) in enumerate([(3, -4), (5, 6)]):
            key = _threefry((first & _MASK, second & _MASK), (first >> 32 & _MASK, second >> 32 & _MASK))
            blocks = [_threefry(key, (block, 77)) for block in range(3)]
            expected = [(word >> 8) / 2**24 for half in zip(*blocks, strict=True) for word in half][:5]
            self.assertAllEqual(numbers[row], expected)

    def test_neighbouring_seeds_give_uniform_numbers(self):
        numbers = randomness.uniform(_neighbours(), "purpose", [3]).numpy()
        self.assertGreaterEqual(numbers.min(), 0.0)
        self.assertLess(numbers.max(), 1.0)
        for column in numbers.T:  # 1.95 / sqrt(n) is passed once in a thousand
            self.assertLess(_distance(column, lambda x: x), 1.95 / math.sqrt(2000))

    def test_purposes_positions_and_seeds_are_uncorrelated(self):
        numbers = tf.concat(
            [randomness.uniform(_neighbours(), purpose, [3]) for purpose in ("a", "b", 7)], axis=1
        ).numpy()
        shifted = np.concatenate([numbers[:-1], numbers[1:]], axis=1)
        correlations = np.corrcoef(shifted, rowvar=False) - np.eye(18)
        self.assertLess(np.abs(correlations).max(), 4.5 / math.sqrt(1999))

    def test_a_seed_gives_the_same_numbers_in_any_row_of_any_batch(self):
        whole = randomness.uniform(_neighbours()[:16], "purpose", [4, 2])
        self.assertAllEqual(randomness.uniform(_neighbours()[9:4:-1], "purpose", [4, 2]), whole[9:4:-1])

    def test_every_bit_of_a_long_seed_counts(self):
        seeds = [[1 << bit, 0] for bit in range(63)] + [[0, 1 << bit] for bit in range(63)] + [[0, 0], [-1, 0], [0, -1]]
        numbers = randomness.uniform(tf.constant(seeds, tf.int64), "purpose", [2]).numpy()
        self.assertLen(np.unique(numbers, axis=0), len(seeds))

    def test_seeds_of_both_integer_types_give_the_same(self):
        seeds = tf.constant([[-5, 7], [2**31 - 1, -(2**31)]], tf.int32)
        wide = tf.cast(seeds, tf.int64)
        self.assertAllEqual(randomness.uniform(seeds, "purpose", [3]), randomness.uniform(wide, "purpose", [3]))

    @parameterized.parameters(((), (2000,)), ((1,), (2000, 1)), ((3, 5), (2000, 3, 5)), ((0,), (2000, 0)))
    def test_shape_is_the_batch_and_then_the_draw(self, shape, expected):
        self.assertEqual(randomness.uniform(_neighbours(), "purpose", shape).shape, expected)
        self.assertEqual(randomness.normal(_neighbours(), "purpose", shape).shape, expected)

    @parameterized.named_parameters(*modes.ALL)
    def test_bits_are_the_same_wherever_it_runs(self, run):
        def draw(seeds):
            return randomness.uniform(seeds, "purpose", [3])

        for dtype in (tf.int32, tf.int64):
            seeds = tf.cast(_neighbours() - 1000, dtype)
            self.assertAllEqual(run(draw, seeds), draw(seeds))

    @parameterized.parameters(([1, 2], tf.int32), ([[1, 2, 3]], tf.int32), ([[1.0, 2.0]], tf.float32))
    def test_seeds_of_another_shape_or_type_are_refused(self, seeds, dtype):
        with self.assertRaisesRegex(ValueError, r"`seeds` must be .* of shape \[B, 2\]\. Received: "):
            randomness.uniform(tf.constant(seeds, dtype), "purpose")


class NormalTest(tf.test.TestCase, parameterized.TestCase):
    def test_neighbouring_seeds_give_normal_numbers(self):
        numbers = randomness.normal(_neighbours(), "purpose", [4]).numpy()
        for column in numbers.T:
            gaussian = np.vectorize(lambda x: 0.5 * (1.0 + math.erf(x / math.sqrt(2.0))))
            self.assertLess(_distance(column, gaussian), 1.95 / math.sqrt(2000))
        self.assertLess(np.abs(np.corrcoef(numbers, rowvar=False) - np.eye(4)).max(), 4.5 / math.sqrt(2000))

    @parameterized.parameters(0, _MASK)
    def test_no_word_gives_an_infinite_number(self, word):
        words = tf.fill([1, 2], tf.constant(word, tf.uint32)), tf.fill([1, 2], tf.constant(0, tf.uint32))
        with mock.patch.object(randomness, "threefry2x32", return_value=words):
            numbers = randomness.normal(_neighbours()[:1], "purpose", [4])
        # The radius is sqrt(-2 ln 1) = 0 or sqrt(-2 ln 2^-24) = 5.768, the angle 0.
        self.assertAllClose(numbers, [[5.768 if word else 0.0] * 2 + [0.0, 0.0]], rtol=0, atol=1e-3)

    @parameterized.named_parameters(*modes.ALL)
    def test_it_is_the_same_wherever_it_runs(self, run):
        def draw(seeds):
            return randomness.normal(seeds, "purpose", [3])

        self.assertAllClose(run(draw, _neighbours()), draw(_neighbours()), rtol=0, atol=2e-5)


class SplitTest(tf.test.TestCase):
    def test_a_derived_seed_does_not_depend_on_how_many_there_are(self):
        many = randomness.split(_neighbours()[:5], 6)
        self.assertEqual(many.shape, (6, 5, 2))
        self.assertAllEqual(randomness.split(_neighbours()[:5], 2), many[:2])

    def test_derived_seeds_all_differ(self):
        derived = randomness.split(_neighbours(), 5).numpy().reshape(-1, 2)
        self.assertLen(np.unique(derived, axis=0), 10_000)

    def test_streams_of_derived_seeds_are_uncorrelated(self):
        derived = randomness.split(_neighbours(), 4)
        streams = np.stack(
            [randomness.uniform(seeds, "purpose") for seeds in derived] + [randomness.uniform(_neighbours(), "purpose")]
        )
        self.assertLess(np.abs(np.corrcoef(streams) - np.eye(5)).max(), 4.5 / math.sqrt(2000))


if __name__ == "__main__":
    tf.test.main()
