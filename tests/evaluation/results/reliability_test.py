"""Tests of semppl.evaluation.results.reliability."""

import numpy as np
from absl.testing import absltest, parameterized
from scipy import stats

from semppl.evaluation.results.calibration import expected_calibration_error
from semppl.evaluation.results.reliability import accuracy_interval, reliability


class ReliabilityTest(parameterized.TestCase):
    @parameterized.parameters(0, 1)
    def test_bins_are_those_of_plain_loops(self, seed):
        rng = np.random.default_rng(seed)
        confidence, correct = rng.uniform(0, 1, 60).round(2), rng.uniform(0, 1, 60) < 0.6
        confidence[:3] = 1.0, 2 / 15, 0.0  # edges belong to the lower bin
        expected = []
        for place in range(15):
            inside = [
                row
                for row in range(60)
                if place / 15 < confidence[row] <= (place + 1) / 15 or (place == 0 and confidence[row] == 0)
            ]
            if inside:
                means = (sum(values[row] for row in inside) / len(inside) for values in (confidence, correct))
                expected.append((place / 15, len(inside), *means))
        np.testing.assert_allclose(np.transpose(reliability(confidence, correct)), expected, atol=1e-12)

    def test_the_bins_have_the_expected_calibration_error(self):
        rng = np.random.default_rng(2)
        confidence, correct = rng.uniform(0, 1, 200), rng.uniform(0, 1, 200) < 0.5
        bins = reliability(confidence, correct)
        error = float(np.abs(bins.accuracy - bins.confidence) @ bins.counts / 200)
        self.assertAlmostEqual(error, expected_calibration_error(confidence, correct), delta=1e-12)

    @parameterized.parameters((0, 5), (5, 5), (7, 9), (300, 341))
    def test_the_interval_is_that_of_scipy(self, right, total):
        expected = stats.binomtest(right, total).proportion_ci(method="wilson")
        np.testing.assert_allclose(accuracy_interval(right, total), expected, atol=1e-7)


if __name__ == "__main__":
    absltest.main()
