"""Tests of semppl.layers.blocks.matrix_roots, against eigenvalues in NumPy."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.blocks.matrix_roots import newton_schulz, symmetric_root


def _matrix(values, seed=0):
    """Makes a symmetric matrix of given eigenvalues, and a function that applies a function to them."""
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    return lambda function: vectors @ np.diag([function(value) for value in values]) @ vectors.T


def _scalar(value, norm, iterations):
    """The iteration of one eigenvalue, in plain loops."""
    root, inverse = value / norm, 1.0
    for _ in range(iterations):
        change = (3 - inverse * root) / 2
        root, inverse = root * change, inverse * change
    return root * norm**0.5, inverse / norm**0.5


class MatrixRootsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(iterations=[1, 4, 9], values=[(3.0, 2.0, 0.5), (40.0, 1.0, 1e-3, 0.2)])
    def test_every_eigenvalue_takes_the_iterations(self, iterations, values):
        of, norm = _matrix(values), np.linalg.norm(values)
        found = newton_schulz(tf.constant(of(lambda value: value)), iterations=iterations)
        for part in (0, 1):
            self.assertAllClose(found[part], of(lambda v, p=part: _scalar(v, norm, iterations)[p]), rtol=1e-9)

    def test_many_iterations_reach_the_root_and_its_inverse(self):
        of = _matrix((5.0, 1.3, 0.02))
        root, inverse = newton_schulz(tf.constant(of(lambda value: value)), iterations=30)
        self.assertAllClose(root, of(np.sqrt), rtol=1e-9)
        self.assertAllClose(inverse, of(lambda value: value**-0.5), rtol=1e-9)

    def test_the_identity_has_a_closed_form(self):
        # ‖I‖ = 2: the eigenvalue ½ becomes ½·(3 − ½)/2 = 0.625 after one iteration, and the root 0.625·√2.
        root, inverse = newton_schulz(tf.eye(4, dtype=tf.float64), iterations=1)
        self.assertAllClose(root, 0.625 * np.sqrt(2) * np.eye(4), rtol=1e-12)
        self.assertAllClose(inverse, 1.25 / np.sqrt(2) * np.eye(4), rtol=1e-12)

    def test_the_root_by_eigenvalues_is_that_of_numpy(self):
        of = _matrix((4.0, 1.0, 0.25, 0.0))
        self.assertAllClose(symmetric_root(tf.constant(of(lambda value: value))), of(np.sqrt), atol=1e-7)

    def test_a_matrix_of_rank_one_with_a_ridge_stays_finite(self):
        collapsed = tf.fill([64, 64], 1.0) + 0.6 * tf.eye(64)
        for found in (*newton_schulz(collapsed, iterations=9), symmetric_root(collapsed)):
            self.assertAllEqual(tf.math.is_finite(found), np.ones([64, 64], bool))


if __name__ == "__main__":
    tf.test.main()
