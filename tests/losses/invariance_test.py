"""Tests of semppl.losses.invariance."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.invariance import invariance
from semppl.losses.two_level_softmax import two_level_softmax
from semppl.tests import numpy_method


def _logits(seed, *shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape) / 0.2


def _divergence(teacher, student):
    """The divergence between the softmaxes of logits `[..., C]`, of which the first is the positive's: `[...]`."""
    softmaxes = (two_level_softmax(logits[..., :1], logits[..., 1:]) for logits in (teacher, student))
    return invariance(*softmaxes)[..., 0]


class InvarianceTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(temperature=[0.2, 1.5], similarity=[-0.8, 0.5, 1.0])
    def test_two_candidates_that_change_places_match_the_closed_form(self, temperature, similarity):
        # Logits (a, 0) against (0, a), a = s/τ: P = (p, 1 − p) with p = σ(a), so KL = (2p − 1)·log(p / (1 − p)) = a·tanh(a/2).
        scaled = similarity / temperature
        logits = tf.constant([[similarity, 0.0]]) / temperature
        divergence = _divergence(logits, tf.reverse(logits, [-1]))
        self.assertAllClose(divergence, [scaled * math.tanh(scaled / 2)], rtol=1e-5, atol=1e-6)

    def test_the_teacher_is_the_one_whose_candidates_are_weighed(self):
        # Teacher uniform over two, student (σ(a), 1 − σ(a)): ½·log(½/σ(a)) + ½·log(½/σ(−a)) = log cosh(a/2).
        # The other way round: log 2 − H(σ(a)), which is another number.
        uniform, student = tf.constant([0.0, 0.0]), tf.constant([3.0, 0.0])
        self.assertAllClose(_divergence(uniform, student), math.log(math.cosh(1.5)), rtol=1e-6, atol=0)
        share = 1 / (1 + math.exp(-3.0))
        entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
        swapped = _divergence(student, uniform)
        self.assertAllClose(swapped, math.log(2) - entropy, rtol=1e-5, atol=0)

    def test_divergences_match_plain_loops(self):
        teacher, student = _logits(0, 2, 3, 5), _logits(1, 2, 3, 5)
        divergence = _divergence(tf.constant(teacher), tf.constant(student))
        self.assertEqual(divergence.shape, [2, 3])
        for place in np.ndindex(2, 3):
            expected = numpy_method.kl(numpy_method.softmax(teacher[place]), numpy_method.softmax(student[place]))
            self.assertAllClose(divergence[place], expected, rtol=1e-10, atol=1e-12)

    def test_gradient_reaches_the_student_alone_and_matches_finite_differences(self):
        teacher, student = tf.constant(_logits(2, 3, 4)), tf.constant(_logits(3, 3, 4))
        (computed,), (numeric,) = tf.test.compute_gradient(
            lambda logits: _divergence(teacher, logits), [student], delta=1e-5
        )
        self.assertAllClose(computed, numeric, rtol=1e-6, atol=1e-7)
        with tf.GradientTape() as tape:
            tape.watch([teacher, student])
            divergence = _divergence(teacher, student)
        of_teacher, of_student = tape.gradient(divergence, [teacher, student])
        self.assertIsNone(of_teacher)
        # d KL / d student = softmax(student) − softmax(teacher).
        self.assertAllClose(of_student, tf.nn.softmax(student) - tf.nn.softmax(teacher), rtol=1e-10, atol=1e-12)

    def test_agreement_is_zero_and_has_no_gradient(self):
        logits = tf.constant(_logits(4, 5, 6), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            divergence = _divergence(logits, logits)
        self.assertAllClose(divergence, [0.0] * 5, rtol=0, atol=1e-7)
        self.assertAllClose(tape.gradient(divergence, logits), tf.zeros([5, 6]), rtol=0, atol=1e-6)

    def test_the_order_of_the_candidates_and_what_they_share_do_not_matter(self):
        teacher, student = _logits(5, 4, 5), _logits(6, 4, 5)
        divergence = _divergence(tf.constant(teacher), tf.constant(student))
        order = [4, 2, 0, 1, 3]
        changed = _divergence(tf.constant(teacher[:, order] + 1.5), tf.constant(student[:, order] - 2.5))
        self.assertAllClose(divergence, changed, rtol=1e-10, atol=1e-12)
        self.assertAllGreater(divergence, 0.0)

    def test_two_views_that_are_sure_of_different_candidates_stay_finite(self):
        # At τ = 1e-3 all of the teacher's mass is on the first candidate, where the student's log-probability is −2/τ.
        logits = tf.constant([[1.0, -1.0]]) / 1e-3
        student = tf.reverse(logits, [-1])
        with tf.GradientTape() as tape:
            tape.watch(student)
            divergence = _divergence(logits, student)
        self.assertEqual(divergence.dtype, tf.float32)
        self.assertAllClose(divergence, [2000.0], rtol=1e-6, atol=0)
        self.assertAllClose(tape.gradient(divergence, student), [[-1.0, 1.0]], rtol=1e-6, atol=1e-6)

    def test_several_positives_each_make_a_distribution_of_their_own(self):
        teacher, student = tf.constant(_logits(7, 2, 3 + 5)), tf.constant(_logits(8, 2, 3 + 5))
        softmaxes = (two_level_softmax(logits[:, :3], logits[:, 3:]) for logits in (teacher, student))
        divergences = invariance(*softmaxes)
        self.assertEqual(divergences.shape, [2, 3])
        for place in range(3):
            alone = [tf.concat([logits[:, place : place + 1], logits[:, 3:]], -1) for logits in (teacher, student)]
            self.assertAllClose(divergences[:, place], _divergence(*alone), rtol=1e-10, atol=1e-12)


if __name__ == "__main__":
    tf.test.main()
