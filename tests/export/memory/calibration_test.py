"""Tests of semppl.export.memory.calibration."""

import json
import math

import numpy as np
from absl.testing import absltest, parameterized

from semppl.export.memory import calibration
from semppl.tests.export.memory import conformal_recorded


def _vote(similarities, agree, temperature):
    """The probability of the true class, in plain loops."""
    probabilities = []
    for row, same in zip(similarities, agree, strict=True):
        votes = [math.exp(float(value) / temperature) for value in row]
        probabilities.append(sum(v for v, s in zip(votes, same, strict=True) if s) / sum(votes))
    return probabilities


def _case(seed, images=40, entries=12, classes=4):
    rng = np.random.default_rng(seed)
    agree = rng.integers(0, classes, (images, 1)) == np.arange(entries) % classes
    return np.clip(0.3 * agree + rng.normal(0, 0.3, (images, entries)), -1, 1).astype(np.float32), agree


class TemperatureTest(parameterized.TestCase):
    @parameterized.parameters(0.02, 0.3, 1.7)
    def test_the_loss_is_that_of_plain_loops(self, temperature):
        similarities, agree = _case(0, images=600)  # more than are looked at at once
        expected = -np.mean(np.log(_vote(similarities, agree, temperature)))
        self.assertAlmostEqual(calibration.mean_nll(similarities, agree, temperature), expected, delta=1e-5)

    def test_a_barred_entry_does_not_count(self):
        similarities, agree = _case(1)
        barred = np.concatenate([similarities, np.full((40, 1), -np.inf, np.float32)], 1)
        self.assertAlmostEqual(
            calibration.mean_nll(barred, np.concatenate([agree, np.ones((40, 1), bool)], 1), 0.3),
            calibration.mean_nll(similarities, agree, 0.3),
        )

    def test_a_true_class_far_away_has_a_finite_loss(self):
        loss = calibration.mean_nll(np.array([[1.0, -1.0]], np.float32), np.array([[False, True]]), 0.005)
        self.assertAlmostEqual(loss, 2 / 0.005, delta=1e-6)

    @parameterized.parameters((True, 0.005), (False, 2.0))
    def test_the_temperature_stays_in_its_range(self, nearest_are_right, expected):
        similarities = np.tile([[0.9, 0.1]], [6, 1])
        agree = np.tile([[nearest_are_right, not nearest_are_right]], [6, 1])
        self.assertAlmostEqual(calibration.fit_temperature(similarities, agree), expected, places=9)

    @parameterized.parameters(range(5))
    def test_no_temperature_does_better(self, seed):
        similarities, agree = _case(seed)
        fitted = calibration.fit_temperature(similarities, agree)
        losses = [calibration.mean_nll(similarities, agree, t) for t in np.geomspace(0.005, 2, 2000)]
        self.assertLess(calibration.mean_nll(similarities, agree, fitted), min(losses) + 1e-3)

    def test_it_finds_the_temperature_that_labels_were_drawn_at(self):
        rng = np.random.default_rng(0)
        similarities = rng.uniform(-1, 1, (20_000, 3)).astype(np.float32)
        weights = np.exp(similarities / 0.4)
        shares = np.cumsum(weights / weights.sum(1, keepdims=True), 1)
        drawn = (rng.uniform(size=(20_000, 1)) > shares).sum(1)
        fitted = calibration.fit_temperature(similarities, drawn[:, np.newaxis] == np.arange(3))
        self.assertBetween(fitted, 0.38, 0.42)


def _tail(wrong, answers, risk):
    """The probability of at most so many wrong answers, in plain loops."""
    return sum(math.comb(answers, k) * risk**k * (1 - risk) ** (answers - k) for k in range(wrong + 1))


class RiskBoundTest(parameterized.TestCase):
    @parameterized.parameters(0.5, 0.9, 0.99)
    def test_at_the_bound_so_few_wrong_answers_are_as_improbable_as_stated(self, certainty):
        for wrong, answers in ((0, 1), (0, 45), (1, 2), (3, 10), (9, 10), (20, 400)):
            bound = calibration.risk_bound(np.array([wrong]), np.array([answers]), certainty)[0]
            self.assertAlmostEqual(_tail(wrong, answers, bound), 1 - certainty, delta=1e-9)

    def test_where_everything_is_wrong_the_bound_is_one(self):
        self.assertEqual(calibration.risk_bound(np.array([1, 7]), np.array([1, 7]), 0.9).tolist(), [1, 1])

    @parameterized.parameters((0.05, 0.9, 45), (0.5, 0.9, 4), (0.1, 0.5, 7), (0.5, 0.5, 1), (0.2, 0.99, 21))
    def test_so_many_right_answers_are_needed_and_one_less_is_too_few(self, risk, certainty, fewest):
        self.assertEqual(calibration.fewest_answers(risk, certainty), fewest)
        self.assertLessEqual((1 - risk) ** fewest, 1 - certainty + 1e-12)
        self.assertGreater((1 - risk) ** (fewest - 1), 1 - certainty)


class ThresholdTest(parameterized.TestCase):
    @parameterized.product(seed=[0, 1, 2, 3], risk=[0.05, 0.2, 0.9], certainty=[0.5, 0.9])
    def test_the_threshold_answers_most_of_those_that_surely_keep_the_risk(self, seed, risk, certainty):
        rng = np.random.default_rng(seed)
        confidences = np.round(rng.uniform(size=60), 1 if seed else 3)  # with and without equal ones
        correct = rng.uniform(size=60) < 0.5 + 0.5 * confidences
        allowed = []
        for candidate in confidences:
            answered = [c for c, value in zip(correct, confidences, strict=True) if value >= candidate]
            if _tail(answered.count(False), len(answered), risk) <= 1 - certainty:
                allowed.append(candidate)
        expected = min(allowed, default=calibration.NEVER)
        self.assertEqual(calibration.threshold_for_risk(confidences, correct, risk, certainty=certainty), expected)

    @parameterized.parameters((75, 0.9), (150, 0.9), (1000, 0.9), (150, 0.5))
    def test_the_true_risk_is_above_the_target_no_more_often_than_stated(self, count, certainty):
        # An answer of confidence p is wrong with probability (1 - p) / 2, so that the risk from p on is (1 - p) / 4.
        rng, above = np.random.default_rng(count), []
        for _ in range(500):
            confidences = rng.uniform(size=count)
            correct = rng.uniform(size=count) > (1 - confidences) / 2
            threshold = calibration.threshold_for_risk(confidences, correct, 0.1, certainty=certainty)
            above.append(threshold <= 1 and (1 - threshold) / 4 > 0.1)
        self.assertBetween(np.mean(above), 0, 1 - certainty + 0.03)

    def test_the_best_of_many_thresholds_is_above_the_target_more_often_where_confidence_says_nothing(self):
        rng, above = np.random.default_rng(0), []
        for _ in range(300):
            correct = rng.uniform(size=1000) > 0.055
            above.append(calibration.threshold_for_risk(rng.uniform(size=1000), correct, 0.05, certainty=0.9) <= 1)
        self.assertBetween(np.mean(above), 0.1, 0.28)

    def test_where_nothing_is_right_nothing_is_answered(self):
        confidences, correct = np.array([1.0, 0.5]), np.array([False, False])
        self.assertGreater(calibration.threshold_for_risk(confidences, correct, 0.2, certainty=0.9), 1)

    def test_confidences_that_differ_by_rounding_are_answered_together(self):
        confidences = np.full(40, 1, np.float32) - np.float32(6e-8) * (np.arange(40) % 2 > 0)
        correct = np.arange(40) % 2 == 0  # only those a rounding higher are right
        self.assertEqual(calibration.threshold_for_risk(confidences, correct, 0.2, certainty=0.9), calibration.NEVER)

    def test_the_margin_is_that_of_float32_near_one_and_of_the_logits_elsewhere(self):
        self.assertAlmostEqual(calibration.lowered(1.0), 1 - 1e-6, delta=1e-12)
        self.assertAlmostEqual(calibration.lowered(0.5), 0.5 - 1e-6 - 2.5e-5, delta=1e-12)
        self.assertEqual(calibration.lowered(0.0), 0)

    @parameterized.parameters(({"target_risk": 0.5}, 0.8), ({"target_risk": 0.0, "target_coverage": 0.2}, 0.9))
    def test_an_image_at_the_threshold_is_answered_however_it_is_rounded(self, aim, exact):
        confidences, correct = np.repeat([0.9, 0.8, 0.1], 10), np.repeat([True, True, False], [10, 10, 10])
        correct[10:20:2] = False  # 5 of 20 wrong, and then all
        settings = calibration.CalibrationSettings(**aim)
        threshold = calibration.abstention_threshold(confidences, correct, settings)
        self.assertBetween(threshold, exact - 5e-5, exact - 1e-6)

    def test_a_model_that_never_answers_has_a_threshold_without_a_margin(self):
        settings = calibration.CalibrationSettings(target_risk=0.05)
        never = calibration.abstention_threshold(np.array([1.0]), np.array([True]), settings)
        self.assertEqual(never, calibration.NEVER)

    @parameterized.parameters((0.5, 0.6), (0.51, 0.4), (1.0, 0.0), (0.25, 0.8), (0.1, 0.8))
    def test_the_threshold_answers_the_share_that_is_asked_for(self, coverage, expected):
        self.assertEqual(calibration.threshold_for_coverage(np.array([0.4, 0.0, 0.8, 0.6]), coverage), expected)


class SetThresholdTest(parameterized.TestCase):
    # Of 9 images and the one to come, at a coverage of 0.8, two may be missed: those below the second smallest.
    @parameterized.parameters((0.8, 0.2), (0.75, 0.2), (0.9, 0.1), (0.95, 0.0), (0.5, 0.5))
    def test_the_rank_leaves_room_for_the_image_to_come(self, coverage, expected):
        probabilities = np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5])
        self.assertEqual(calibration.set_threshold(probabilities, coverage), expected)

    @parameterized.parameters(0.7, 0.9)
    def test_new_images_are_covered_as_stated(self, coverage):
        rng = np.random.default_rng(0)
        covered = []
        for _ in range(2000):
            probabilities = rng.beta(2, 1, 41)
            covered.append(probabilities[0] >= calibration.set_threshold(probabilities[1:], coverage))
        self.assertBetween(np.mean(covered), coverage - 0.02, coverage + 0.04)


class RecordedTest(parameterized.TestCase):
    @parameterized.product(name=["mapie", "crepes"], coverage=conformal_recorded.COVERAGES)
    def test_prediction_sets_are_those_of_mapie_and_crepes(self, name, coverage):
        recorded = json.loads(conformal_recorded.FILE.read_text(encoding="utf-8"))
        probabilities, truth, queries = conformal_recorded.case()
        threshold = calibration.set_threshold(probabilities[np.arange(len(truth)), truth], coverage)
        sets = conformal_recorded.written(queries >= threshold)
        self.assertEqual(sets, recorded[name][str(coverage)])

    @parameterized.product(risk=conformal_recorded.RISKS, certainty=conformal_recorded.CERTAINTIES)
    def test_thresholds_that_are_safe_for_mapie_are_safe(self, risk, certainty):
        # MAPIE's test, of Hoeffding and Bentkus, is more cautious than the exact binomial one, by a factor e of the latter.
        safe = json.loads(conformal_recorded.FILE.read_text(encoding="utf-8"))["safe"][f"{risk} {certainty}"]
        probabilities, truth, _ = conformal_recorded.case()
        confidences, correct = probabilities.max(1), probabilities.argmax(1) == truth
        own = []
        for threshold in conformal_recorded.THRESHOLDS:
            answered = correct[confidences >= threshold]
            bound = calibration.risk_bound(np.array([np.sum(~answered)]), np.array([len(answered)]), certainty)
            own += [threshold] if bound[0] <= risk else []
        self.assertContainsSubset(safe, own)
        self.assertLess(len(own) - len(safe), 15)
        lowest = calibration.threshold_for_risk(confidences, correct, risk, certainty=certainty)
        self.assertLessEqual(lowest, min([*own, calibration.NEVER]) + 1 / 40)


class ReplacedSettingsTest(parameterized.TestCase):
    @parameterized.parameters(
        ({}, (0.05, 0.0, 0.9)),
        ({"target_risk": 0.2}, (0.2, 0.0, 0.9)),
        ({"target_coverage": 0.3}, (0.0, 0.3, 0.9)),
        ({"risk_confidence": 0.5}, (0.05, 0.0, 0.5)),
    )
    def test_a_new_target_takes_the_place_of_the_old_one(self, values, expected):
        new = calibration.CalibrationSettings("memory").replaced(values)
        self.assertEqual((new.target_risk, new.target_coverage, new.risk_confidence), expected)
        self.assertEqual(new.calibrate_on, "memory")
        self.assertEqual(new.replaced({"target_risk": 0.1}).target_coverage, 0)

    @parameterized.parameters(
        ("held_out", {"target_risk": 0.1, "target_coverage": 0.3}, "Exactly one"),
        (
            "held_out",
            {"target_coverage": 0.3, "risk_confidence": 0.5},
            "--risk_confidence must come with --target_risk",
        ),
        ("nothing", {"target_risk": 0.1}, "--target_risk=0.1 must come with something to calibrate on"),
    )
    def test_a_value_without_effect_is_refused(self, calibrate_on, values, message):
        with self.assertRaisesRegex(ValueError, message):
            calibration.CalibrationSettings(calibrate_on).replaced(values)


class CalibrationErrorTest(absltest.TestCase):
    def test_it_is_the_mean_gap_of_bins(self):
        confidences = np.array([0.05, 0.15, 0.95, 1.0])
        correct = np.array([False, True, True, False])
        # Two bins: (0.1, 0.5) of two images, and (0.975, 0.5) of two.
        expected = (2 * 0.4 + 2 * 0.475) / 4
        self.assertAlmostEqual(calibration.calibration_error(confidences, correct, bins=2), expected)

    def test_it_is_that_of_plain_loops_over_fifteen_bins_that_begin_with_their_lower_edge(self):
        rng = np.random.default_rng(0)
        confidences = np.concatenate([rng.uniform(size=300), np.arange(16) / 15])
        correct = rng.uniform(size=316) < confidences**2
        gaps = []
        for bin_ in range(15):
            inside = [
                (confidence, hit)
                for confidence, hit in zip(confidences, correct, strict=True)
                if bin_ <= confidence * 15 and (confidence * 15 < bin_ + 1 or bin_ == 14)
            ]
            gaps.append(abs(sum(confidence for confidence, _ in inside) - sum(hit for _, hit in inside)))
        self.assertAlmostEqual(calibration.calibration_error(confidences, correct), sum(gaps) / 316, delta=1e-12)


if __name__ == "__main__":
    absltest.main()
