"""Tests of semppl.export.memory.judgement."""

import re

import numpy as np
from absl.testing import absltest, parameterized

from semppl.export.memory import calibration, judgement
from semppl.export.memory.calibration import Calibration, CalibrationSettings
from semppl.export.memory.judgement import Judged


def _judged(confidences, correct):
    confidences = np.array(confidences, float)
    probabilities = np.stack([confidences, 1 - confidences], 1)
    return Judged.of(probabilities, np.where(correct, 0, 1))


class AnsweredTest(parameterized.TestCase):
    @parameterized.parameters(
        (0.7, {"coverage": 2 / 3, "risk": 0.0}),
        (0.6, {"coverage": 1.0, "risk": 1 / 3}),
        (0.90001, {"coverage": 0.0}),
        (calibration.NEVER, {"coverage": 0.0}),
    )
    def test_a_probability_at_the_threshold_is_answered(self, threshold, expected):
        judged = _judged([0.6, 0.7, 0.9], [False, True, True])
        self.assertEqual(judgement.answered(judged, threshold), expected)

    def test_a_prediction_set_has_the_classes_from_its_threshold_on_and_always_the_most_probable(self):
        probabilities = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.2, 0.4, 0.4]])
        judged = Judged.of(probabilities, np.array([1, 0, 2]))
        for threshold in (0.25, 0.26, 0.5, 0.9):
            sizes, covered = [], []
            for row, truth in zip(probabilities, (1, 0, 2), strict=True):
                chosen = {c for c, p in enumerate(row) if p >= threshold or p == max(row)}
                sizes.append(len(chosen))
                covered.append(truth in chosen)
            values = judgement.measured(judged, Calibration(1.0, 0.0, threshold))
            self.assertAlmostEqual(values["set_size"], np.mean(sizes))
            self.assertAlmostEqual(values["set_coverage"], np.mean(covered))


class NeverAnswersTest(parameterized.TestCase):
    @parameterized.parameters(
        (0, "target_risk=0.02"),  # 114 right answers suffice, as (1 - 0.02)^114 < 0.1
        (50, "target_risk=0.05"),
        (16, "target_risk=0.1"),
        (8, "target_risk=0.2"),
        (4, "target_risk=0.3"),
        (3, "target_risk=0.5"),
        (1, "target_coverage=0.1"),
    )
    def test_the_smallest_aim_that_would_answer_is_named(self, every, aim):
        # Of 200 answers, by falling confidence, each of number `every` is wrong; 0: none.
        confidences = np.linspace(0.99, 0.51, 200)
        numbers = np.arange(1, 201)
        judged = _judged(confidences, numbers % every != 0 if every else np.ones(200, bool))
        report = {
            "measured": {"coverage": 0.0},
            "threshold": calibration.NEVER,
            "held_out_images": "test",
            "trust": {"calibrate_on": "held_out"},
        }
        settings = CalibrationSettings(target_risk=0.001)
        said = judgement.describe_abstention(report, judged, _judged([], []), settings)
        self.assertRegex(said["warning"], f"; with --{re.escape(aim)} it answers [1-9]")
        report["measured"] = {"coverage": 0.0005}  # printed as 0.1%
        self.assertEqual(set(judgement.describe_abstention(report, judged, judged, settings)), {"abstention"})


if __name__ == "__main__":
    absltest.main()
