"""Tests of semppl.evaluation.results.seeds."""

from absl.testing import absltest

from semppl.evaluation.results.seeds import over_seeds, seed_lines


class SeedsTest(absltest.TestCase):
    def test_mean_spread_and_number_are_over_seeds(self):
        metrics = [{"accuracy": {"features": {"a": value, "b": 0.5}}} for value in (0.2, 0.4, 0.9)]
        summary = over_seeds(metrics)["accuracy"]["features"]
        self.assertAlmostEqual(summary["a"]["mean"], 0.5)
        self.assertAlmostEqual(summary["a"]["spread"] ** 2, (0.09 + 0.01 + 0.16) / 2)
        self.assertEqual(summary["a"]["n"], 3)
        self.assertEqual(summary["b"], {"mean": 0.5, "spread": 0.0, "n": 3})
        self.assertEqual(over_seeds(metrics[:1])["accuracy"]["features"]["a"]["spread"], 0)
        lines = seed_lines(over_seeds(metrics))
        self.assertEqual(lines[0], "accuracy over 3 seeds, mean ± standard deviation:")
        self.assertEqual(lines[1], "features: a 0.5000 ± 0.3606, b 0.5000 ± 0.0000")


if __name__ == "__main__":
    absltest.main()
