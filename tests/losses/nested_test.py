"""Tests of semppl.losses.nested."""

import functools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.cosine_distance import cosine_distance
from semppl.losses.nested import prefix, sum_over_prefixes
from semppl.losses.nt_xent import nt_xent


def _unit(*shape, seed=0):
    rows = np.random.default_rng(seed).normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class _Pair(NamedTuple):
    near: tf.Tensor
    far: tf.Tensor


class NestedTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(((2, 3, 5),), ((1,),), ((4, 6),), ((6,),))
    def test_is_the_sum_of_the_loss_at_every_width_and_of_the_whole(self, widths):
        anchors, targets = _unit(3, 4, 6, seed=1), _unit(2, 4, 6, seed=2)
        expected = np.zeros(4)
        for width in {*widths, 6}:
            for image in range(4):
                distances = []
                for view in range(3):
                    for other in range(2):
                        if view != other:
                            first, second = anchors[view, image, :width], targets[other, image, :width]
                            cosine = first @ second / math.sqrt(first @ first) / math.sqrt(second @ second)
                            distances.append(2 - 2 * cosine)
                expected[image] += sum(distances) / len(distances)
        losses = sum_over_prefixes(cosine_distance, [tf.constant(anchors), tf.constant(targets)], widths)
        self.assertAllClose(losses, expected, rtol=1e-12)

    @parameterized.parameters((), (6,))
    def test_without_narrower_widths_the_loss_is_called_once_with_the_tensors_themselves(self, *widths):
        anchors, targets = tf.constant(_unit(2, 3, 6)), tf.constant(_unit(2, 3, 6, seed=1))
        calls = []
        value = sum_over_prefixes(lambda *given: calls.append(given) or given[0], (anchors, targets), widths)
        self.assertLen(calls, 1)
        self.assertIs(calls[0][0], anchors)
        self.assertIs(calls[0][1], targets)
        self.assertIs(value, anchors)

    @parameterized.parameters(0.1, 0.5, 2.0)
    def test_of_orthogonal_images_every_prefix_that_tells_them_apart_adds_the_closed_form(self, temperature):
        # Images lie on the first four of eight axes, so that prefixes of 4 and 8 keep them: two views of each of 4 images,
        # a positive at cosine 1 and 2·3 negatives at 0. A prefix of 2 loses images 2 and 3, whose rows are zeros at cosine 0.
        axes = tf.stack([tf.eye(4, 8, dtype=tf.float64)] * 2)
        same = {"same": tf.eye(4, dtype=tf.bool)}

        def loss(anchors):
            return nt_xent(anchors, anchors, **same, temperature=temperature)

        whole, lost = math.log1p(6 * math.exp(-1 / temperature)), math.log(7)
        self.assertAllClose(sum_over_prefixes(loss, [axes], (4,)), [2 * whole] * 4)
        self.assertAllClose(sum_over_prefixes(loss, [axes], (2,)), [2 * whole] * 2 + [whole + lost] * 2)

    def test_gradients_are_slopes(self):
        anchors, targets = _unit(2, 3, 5, seed=3), tf.constant(_unit(2, 3, 5, seed=4))

        def total(rows):
            return tf.reduce_sum(sum_over_prefixes(cosine_distance, [rows, targets], (1, 2, 4)))

        variable = tf.constant(anchors)
        with tf.GradientTape() as tape:
            tape.watch(variable)
            value = total(variable)
        slopes = np.zeros_like(anchors)
        for place in np.ndindex(*anchors.shape):
            step = np.zeros_like(anchors)
            step[place] = 1e-6
            slopes[place] = (total(anchors + step) - total(anchors - step)) / 2e-6
        self.assertAllClose(tape.gradient(value, variable), slopes, rtol=1e-6, atol=1e-6)

    def test_terms_of_a_named_tuple_are_added_one_by_one(self):
        rows = tf.constant(_unit(4, 6))

        def loss(rows):
            return _Pair(near=rows[:, 0], far=-rows[:, 1])

        total = sum_over_prefixes(loss, [rows], (2, 3))
        parts = [rows, prefix(rows, 2), prefix(rows, 3)]
        self.assertIsInstance(total, _Pair)
        self.assertAllClose(total.near, sum(part[:, 0] for part in parts))
        self.assertAllClose(total.far, -sum(part[:, 1] for part in parts))

    def test_prefixes_have_unit_norm_and_those_of_length_0_stay_finite(self):
        self.assertAllClose(tf.norm(prefix(tf.constant(_unit(3, 5, 8)), 3), axis=-1), np.ones([3, 5]))
        rows = tf.constant([[0.0, 0.0, 1.0], [1e-30, 0.0, 1.0]])
        with tf.GradientTape() as tape:
            tape.watch(rows)
            narrow = prefix(rows, 2)
        self.assertAllClose(narrow, np.zeros([2, 2]))
        self.assertAllEqual(tf.math.is_finite(tape.gradient(narrow, rows)), np.full([2, 3], True))

    def test_xla_computes_the_same(self):
        anchors, targets = (tf.constant(_unit(2, 3, 6, seed=seed), tf.float32) for seed in (5, 6))
        compute = functools.partial(sum_over_prefixes, cosine_distance, [anchors, targets], (2, 4))
        self.assertAllClose(tf.function(compute, jit_compile=True)(), compute(), rtol=1e-5)


if __name__ == "__main__":
    tf.test.main()
