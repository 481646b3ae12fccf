"""Tests of semppl.evaluation.robustness.errors."""

from absl.testing import absltest

from semppl.evaluation.robustness.errors import mean_corruption_error, relative_mean_corruption_error

_OWN = {"fog": [0.2, 0.4], "snow": [0.3, 0.9]}
_BASELINE = {"fog": [0.5, 0.7], "snow": [0.4, 0.4], "spatter": [0.9, 0.9]}


class ErrorsTest(absltest.TestCase):
    def test_mce_is_the_mean_over_corruptions_of_ratios_of_sums(self):
        expected = ((0.2 + 0.4) / (0.5 + 0.7) + (0.3 + 0.9) / (0.4 + 0.4)) / 2
        self.assertAlmostEqual(mean_corruption_error(_OWN, _BASELINE), expected)
        self.assertAlmostEqual(mean_corruption_error(_OWN, _OWN), 1)

    def test_relative_mce_is_of_the_errors_beyond_the_clean_ones(self):
        fog = (0.1 + 0.3) / (0.3 + 0.5)
        snow = (0.2 + 0.8) / (0.2 + 0.2)
        relative = relative_mean_corruption_error(_OWN, 0.1, _BASELINE, 0.2)
        self.assertAlmostEqual(relative, (fog + snow) / 2)

    def test_without_errors_of_the_baseline_there_is_no_ratio(self):
        self.assertIsNone(mean_corruption_error(_OWN, _BASELINE | {"fog": [0.0, 0.0]}))
        self.assertIsNone(relative_mean_corruption_error(_OWN, 0.1, _BASELINE, 0.4))


if __name__ == "__main__":
    absltest.main()
