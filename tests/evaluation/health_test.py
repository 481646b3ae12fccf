"""Tests of semppl.evaluation.health, against plain loops and closed forms."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from semppl.evaluation import health


def _unit(*shape, seed=0):
    rows = np.random.default_rng(seed).normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class MeasuresTest(parameterized.TestCase):
    def test_effective_rank_counts_directions_of_equal_use(self):
        for rank in (1, 3, 8):
            rows = np.repeat(np.eye(8)[:rank], 5, axis=0)  # `rank` equal singular values
            self.assertAlmostEqual(health.effective_rank(rows), rank, places=9)

    def test_effective_rank_of_two_singular_values(self):
        rows = np.diag([3.0, 1.0, 0.0])  # shares 3/4 and 1/4
        expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
        self.assertAlmostEqual(health.effective_rank(rows), expected, places=9)

    def test_alignment_and_uniformity_are_their_definitions_in_loops(self):
        first, second = _unit(7, 5, seed=1), _unit(7, 5, seed=2)
        squares = [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in zip(first, second, strict=True)]
        self.assertAlmostEqual(health.alignment(first, second), sum(squares) / 7, places=9)
        potentials = [
            math.exp(-2 * sum((a - b) ** 2 for a, b in zip(first[i], first[j], strict=True)))
            for i in range(7)
            for j in range(i)
        ]
        self.assertAlmostEqual(health.uniformity(first), math.log(sum(potentials) / len(potentials)), places=9)

    def test_one_point_has_no_spread_and_opposite_points_all(self):
        point = np.repeat(_unit(1, 4), 6, axis=0)
        self.assertAlmostEqual(health.spread(point), 0, places=9)
        self.assertAlmostEqual(health.uniformity(point), 0, places=9)
        self.assertAlmostEqual(health.spread(np.concatenate([point, -point])), 1, places=9)

    def test_views_agree_where_each_is_nearest_to_its_own(self):
        first = np.eye(4)
        self.assertEqual(health.view_agreement(first, first), 1)
        self.assertEqual(health.view_agreement(first, first[[1, 0, 2, 3]]), 0.5)

    def test_separation_is_the_difference_of_mean_cosines(self):
        first, second = _unit(5, 3, seed=3), _unit(5, 3, seed=4)
        own = sum(first[i] @ second[i] for i in range(5)) / 5
        others = sum(first[i] @ second[j] for i in range(5) for j in range(5) if i != j) / 20
        self.assertAlmostEqual(health.view_separation(first, second), own - others, places=9)

    @parameterized.parameters(
        ([0, 1, 2, 3], 4, 1.0),
        ([2, 2, 2], 4, 0.0),
        ([0, 0, 0, 1], 2, -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))),
        ([0, 1], 4, 0.5),
        ([0, 0], 1, 1.0),
    )
    def test_entropy_is_a_share_of_its_maximum(self, classes, num_classes, expected):
        self.assertAlmostEqual(health.class_entropy(np.array(classes), num_classes), expected, places=9)


_WELL = {
    "effective_rank": 20.0,
    "spread": 0.8,
    "vote_entropy": 0.9,
    "view_separation": 0.5,
    "held_out_accuracy": 0.6,
}


class FindingsTest(parameterized.TestCase):
    def of(self, *steps, **settings):
        settings = {"last_step": 100, "width": 64, "held_out": 10_000} | settings
        findings = health.Findings(**settings)
        return [text for step, changes in steps for text in findings.of(step, _WELL | changes)]

    def test_a_healthy_run_has_none(self):
        self.assertEmpty(self.of((10, {}), (60, {}), (100, {})))

    @parameterized.parameters({"effective_rank": 1.9}, {"spread": 0.049})
    def test_collapse(self, **changes):
        (text,) = self.of((10, changes))
        self.assertRegex(
            text,
            r"^Embeddings are collapsing: effective rank \S+ of 64, spread 0\.\d+\. Lower --learning_rate, raise ",
        )

    @parameterized.parameters({"effective_rank": 2.0}, {"spread": 0.05})
    def test_the_limits_of_collapse_are_healthy(self, **changes):
        self.assertEmpty(self.of((10, changes)))

    def test_embeddings_of_two_numbers_may_have_a_rank_below_two(self):
        self.assertEmpty(self.of((10, {"effective_rank": 1.5}), width=2))

    def test_votes_for_few_classes(self):
        (text,) = self.of((50, {"vote_entropy": 0.39}), labelled_entropy=0.8)
        self.assertRegex(
            text,
            r"^Pseudo-labels favour few classes: entropy 0\.39, .* have 0\.80 .*--prior_corrected_votes or --queue_q",
        )
        self.assertEmpty(self.of((50, {"vote_entropy": 0.4}), labelled_entropy=0.8))
        self.assertEmpty(self.of((49, {"vote_entropy": 0.0})))  # before the encoder has learnt anything

    def test_views_that_are_no_more_similar_than_others_in_the_second_half(self):
        self.assertEmpty(self.of((49, {"view_separation": 0.0}), (50, {"view_separation": 0.05})))
        (text,) = self.of((50, {"view_separation": 0.049}))
        self.assertRegex(text, r"^Two views of an image are hardly more similar .* 0\.049\)\. Choose a --recipe ")

    def test_a_fall_of_accuracy(self):
        (text,) = self.of((10, {"held_out_accuracy": 0.7}), (20, {"held_out_accuracy": 0.6}))
        self.assertRegex(
            text,
            r"^Held-out accuracy fell from 0\.700 at step 10 to 0\.600\. Lower --learning_rate, or .* --steps than 100$",
        )
        self.assertEmpty(self.of((10, {"held_out_accuracy": 0.7}), (20, {"held_out_accuracy": 0.651})))

    def test_a_fall_within_two_standard_errors_is_noise(self):
        few = 25  # standard error √(0.7·0.3/25) = 0.092
        self.assertEmpty(self.of((10, {"held_out_accuracy": 0.7}), (20, {"held_out_accuracy": 0.52}), held_out=few))
        self.assertLen(self.of((10, {"held_out_accuracy": 0.7}), (20, {"held_out_accuracy": 0.51}), held_out=few), 1)

    def test_each_kind_is_reported_once(self):
        bad = {"spread": 0.0, "vote_entropy": 0.0}
        self.assertLen(self.of((10, bad), (50, bad), (60, bad), (70, bad)), 2)

    def test_what_was_not_measured_is_not_found(self):
        self.assertEmpty(health.Findings(last_step=10, width=8).of(10, {"effective_rank": 5.0, "spread": 0.5}))


if __name__ == "__main__":
    absltest.main()
