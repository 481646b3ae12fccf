"""Tests of semppl.evaluation.protocols.transfer."""

from unittest import mock

import numpy as np
from absl.testing import absltest

from semppl.evaluation.protocols import transfer


class TransferTest(absltest.TestCase):
    def test_there_are_forty_five_strengths_in_equal_steps_of_their_logarithm(self):
        self.assertLen(transfer.L2_STRENGTHS, 45)
        self.assertAlmostEqual(transfer.L2_STRENGTHS[0], 1e-6, delta=1e-18)
        self.assertAlmostEqual(transfer.L2_STRENGTHS[-1], 1e5, delta=1e-6)
        np.testing.assert_allclose(np.diff(np.log10(transfer.L2_STRENGTHS)), 0.25, rtol=1e-9)

    def test_the_fit_has_no_gradient_at_its_penalty(self):
        # d/dw of ½·λ‖w‖² + Σ log(1 + e^{−y(w·x + b)}) is 0 for two classes, y in {−1, 1}.
        rng, strength = np.random.default_rng(0), 3.0
        features, labels = rng.standard_normal((40, 2)), np.arange(40) % 2
        features += labels[:, np.newaxis]
        fitted = transfer._fitted(features, labels, strength)
        weights, signs = fitted.coef_[0], 2 * labels - 1
        pulls = signs / (1 + np.exp(signs * (features @ weights + fitted.intercept_[0])))
        np.testing.assert_allclose(strength * weights, pulls @ features, atol=2e-3)
        self.assertAlmostEqual(pulls.sum(), 0, delta=2e-3)

    def test_the_strength_is_the_one_that_serves_held_out_images_best(self):
        # One training label is wrong, far out on its own axis: a weak penalty learns it by heart, a strong one forgets it.
        features = np.array([[-2.0, 0], [-1, 0], [1, 0], [2, 0], [-0.5, 9]])
        labels, held_out = np.array([0, 0, 1, 1, 1]), np.array([[-0.5, 9.0], [-1.5, 0], [1.5, 0]])
        with mock.patch.object(transfer, "L2_STRENGTHS", np.array([1e-6, 30.0, 1e9])):
            best, accuracies = transfer.choose_strength(features, labels, held_out, np.array([1, 0, 1]))
        self.assertLen(accuracies, 3)
        self.assertEqual((best, max(accuracies)), (1e-6, 1.0))
        self.assertLess(accuracies[2], 1.0)

    def test_of_equals_the_strongest_is_chosen(self):
        features, labels = np.array([[-1.0], [1.0]]), np.array([4, 7])
        best, accuracies = transfer.choose_strength(features, labels, features, labels)
        self.assertEqual(accuracies, [1.0] * 45)
        self.assertEqual(best, transfer.L2_STRENGTHS[-1])
        classes = transfer.classes_of(features, labels, np.array([[3.0], [-3.0]]), strength=best)
        self.assertEqual(classes.tolist(), [7, 4])


if __name__ == "__main__":
    absltest.main()
