"""Tests of semppl.evaluation.results.calibration."""

import numpy as np
from absl.testing import absltest, parameterized
from sklearn import calibration as reference

from semppl.evaluation.results import calibration


def _drawn(seed, count=300):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.2, 1, count)
    return confidence, rng.uniform(size=count) < confidence**2


class CalibrationTest(parameterized.TestCase):
    @parameterized.product(seed=(0, 1, 2), bins=(10, 15))
    def test_the_error_matches_plain_loops_and_scikit_learns_curve(self, seed, bins):
        confidence, correct = _drawn(seed)
        expected = 0.0
        for number in range(bins):
            rows = [i for i, p in enumerate(confidence) if number / bins < p <= (number + 1) / bins]
            if rows:
                gap = sum(correct[i] for i in rows) / len(rows) - sum(confidence[i] for i in rows) / len(rows)
                expected += len(rows) / len(confidence) * abs(gap)
        found = calibration.expected_calibration_error(confidence, correct, bins=bins)
        self.assertAlmostEqual(found, expected, delta=1e-9)
        shares, means = reference.calibration_curve(correct, confidence, n_bins=bins)
        counts = np.histogram(confidence, np.linspace(0, 1, bins + 1))[0]
        weighted = np.abs(shares - means) @ counts[counts > 0] / len(confidence)
        self.assertAlmostEqual(found, weighted, delta=1e-6)

    def test_fifteen_bins_are_the_default_and_edges_belong_below(self):
        confidence, correct = _drawn(5)
        found = calibration.expected_calibration_error(confidence, correct)
        self.assertEqual(found, calibration.expected_calibration_error(confidence, correct, bins=15))
        # With two bins, 0.5 is in the first and 0.75 in the second: |1 - 0.5| / 2 + |0 - 0.75| / 2.
        edge = calibration.expected_calibration_error(np.array([0.5, 0.75]), np.array([True, False]), bins=2)
        self.assertAlmostEqual(edge, 0.5 / 2 + 0.75 / 2)
        self.assertEqual(calibration.expected_calibration_error(np.array([0.0]), np.array([False])), 0)
        self.assertEqual(calibration.expected_calibration_error(np.array([1.0]), np.array([True])), 0)

    def test_risk_and_coverage_match_plain_loops(self):
        confidence, correct = _drawn(1, 40)
        confidence = np.round(confidence, 1)  # with ties
        coverages, risks = calibration.risk_coverage(confidence, correct)
        thresholds = sorted(set(confidence), reverse=True)
        self.assertLen(coverages, len(thresholds))
        for coverage, risk, threshold in zip(coverages, risks, thresholds, strict=True):
            rows = [i for i in range(40) if confidence[i] >= threshold]
            self.assertAlmostEqual(coverage, len(rows) / 40)
            self.assertAlmostEqual(risk, sum(not correct[i] for i in rows) / len(rows))
        self.assertEqual(coverages[-1], 1)

    def test_the_area_is_the_mean_risk_over_coverages(self):
        confidence, correct = _drawn(2, 50)
        order = sorted(range(50), key=lambda i: -confidence[i])
        risks = [sum(not correct[i] for i in order[:count]) / count for count in range(1, 51)]
        found = calibration.area_under_risk_coverage(confidence, correct)
        self.assertAlmostEqual(found, sum(risks) / 50, delta=1e-12)
        self.assertEqual(calibration.area_under_risk_coverage(np.full(4, 0.3), np.array([1, 0, 0, 1])), 0.5)
        self.assertEqual(calibration.area_under_risk_coverage(np.array([0.3]), np.array([True])), 0)


if __name__ == "__main__":
    absltest.main()
