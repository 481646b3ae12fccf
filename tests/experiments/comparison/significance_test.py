"""Tests of semppl.experiments.comparison.significance, against a plain loop and SciPy's paired t test."""

import math

import numpy as np
from absl.testing import absltest, parameterized
from scipy import stats

from semppl.experiments.comparison.significance import MIN_SEEDS, paired_difference

# Two-sided quantiles of Student's distribution at 95 %, from a printed table: degrees of freedom → t.
_T95 = {2: 4.3027, 3: 3.1824, 4: 2.7764}


class PairedDifferenceTest(parameterized.TestCase):
    @parameterized.parameters(3, 4, 5)
    def test_the_interval_is_that_of_a_plain_loop_and_a_printed_table(self, seeds):
        rng = np.random.default_rng(seeds)
        first, second = rng.uniform(0.5, 1, seeds).tolist(), rng.uniform(0, 0.6, seeds).tolist()
        total = sum(a - b for a, b in zip(first, second, strict=True))
        mean = total / seeds
        squares = sum((a - b - mean) ** 2 for a, b in zip(first, second, strict=True))
        half = _T95[seeds - 1] * math.sqrt(squares / (seeds - 1)) / math.sqrt(seeds)
        found = paired_difference(dict(enumerate(first)), dict(enumerate(second)))
        self.assertAlmostEqual(found.mean, mean, places=12)
        self.assertAlmostEqual(found.low, mean - half, places=4)
        self.assertAlmostEqual(found.high, mean + half, places=4)
        self.assertEqual(found.seeds, seeds)

    @parameterized.parameters(0.8, 0.95, 0.99)
    def test_it_is_significant_where_the_paired_t_test_rejects(self, confidence):
        rng = np.random.default_rng(0)
        decisions = []
        for _ in range(200):
            count = int(rng.integers(3, 9))
            first = rng.normal(0.03, 0.05, count)
            second = rng.normal(0, 0.05, count)
            found = paired_difference(dict(enumerate(first)), dict(enumerate(second)), confidence=confidence)
            p_value = stats.ttest_rel(first, second).pvalue
            self.assertEqual(found.significant, bool(p_value < 1 - confidence))
            decisions.append(found.significant)
        self.assertBetween(np.mean(decisions), 0.02, 0.9)  # both answers occur

    def test_what_moves_both_methods_of_a_seed_does_not_count(self):
        luck = np.array([0.0, 0.3, -0.2, 0.1])  # of the labels that a seed draws
        gain = np.array([0.05, 0.06, 0.05, 0.04])
        found = paired_difference(dict(enumerate(0.5 + luck + gain)), dict(enumerate(0.5 + luck)))
        self.assertTrue(found.significant)
        self.assertFalse(stats.ttest_ind(0.5 + luck + gain, 0.5 + luck).pvalue < 0.05)

    def test_seeds_are_matched_by_number_and_others_left_out(self):
        found = paired_difference({3: 0.9, 1: 0.5, 2: 0.7}, {2: 0.6, 3: 0.6, 9: 0.0, 1: 0.3})
        self.assertAlmostEqual(found.mean, (0.2 + 0.1 + 0.3) / 3)
        self.assertEqual(found.seeds, 3)
        self.assertIsNone(paired_difference({0: 1.0}, {1: 1.0}))

    def test_fewer_than_three_seeds_say_nothing(self):
        self.assertEqual(MIN_SEEDS, 3)
        found = paired_difference({0: 0.9, 1: 0.9}, {0: 0.1, 1: 0.1})
        self.assertAlmostEqual(found.mean, 0.8)
        self.assertTrue(math.isnan(found.low) and math.isnan(found.high))
        self.assertFalse(found.significant)

    def test_a_difference_below_zero_can_be_significant_and_none_at_all_cannot(self):
        below = paired_difference({0: 0.1, 1: 0.2, 2: 0.12}, {0: 0.5, 1: 0.61, 2: 0.5})
        self.assertTrue(below.significant)
        self.assertLess(below.high, 0)
        same = {0: 0.5, 1: 0.6, 2: 0.7}
        self.assertFalse(paired_difference(same, same).significant)


if __name__ == "__main__":
    absltest.main()
