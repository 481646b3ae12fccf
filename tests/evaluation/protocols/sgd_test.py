"""Tests of semppl.evaluation.protocols.sgd."""

import math

import numpy as np
import tensorflow as tf

from semppl.evaluation.protocols import sgd


class SgdTest(tf.test.TestCase):
    def test_the_learning_rate_falls_along_half_a_cosine_without_warm_up(self):
        rates = [sgd.cosine(step, peak=0.3, total_steps=6) for step in range(7)]
        expected = [0.3, 0.15 + 0.15 * math.sqrt(3) / 2, 0.225, 0.15, 0.075, 0.15 - 0.15 * math.sqrt(3) / 2, 0.0]
        self.assertAllClose(rates, expected, rtol=0, atol=1e-12)

    def test_updates_are_those_of_plain_numbers_whatever_the_learning_rates(self):
        variable, velocity = tf.Variable([1.0, -2.0], dtype=tf.float64), tf.Variable([0.0, 0.0], dtype=tf.float64)
        weight, speed = np.array([1.0, -2.0]), np.zeros(2)
        for rate, gradient in ((0.5, [1.0, 2.0]), (0.1, [-3.0, 0.5]), (2.0, [0.25, 1.0])):
            sgd.nesterov_update(variable, tf.constant(gradient, tf.float64), velocity, learning_rate=rate)
            speed = np.array(gradient) + 0.9 * speed
            weight = weight - rate * (np.array(gradient) + 0.9 * speed)
            self.assertAllClose(variable, weight, rtol=1e-12, atol=0)


if __name__ == "__main__":
    tf.test.main()
