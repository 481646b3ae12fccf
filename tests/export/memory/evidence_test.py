"""Tests of semppl.export.memory.evidence."""

import dataclasses
import os
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.evaluation.logistic_regression import Moments, fit_logistic_regression
from semppl.export.memory import answers as answers_module
from semppl.export.memory import calibration
from semppl.export.memory.calibration import CalibrationSettings
from semppl.export.memory.embedded_images import FIRST_ADDED_ID, EmbeddedImages
from semppl.export.memory.evidence import Evidence
from semppl.export.memory.judgement import summary
from semppl.export.memory.labelled_memory import class_probabilities
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)

_CLASSES = 4


def _embedded(count, *, first_id=None, seed=0, spread=0.6):
    """Clusters around one axis per class, that overlap a little."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, _CLASSES, count).astype(np.int32)
    rows = (np.eye(_CLASSES, 6)[labels] + rng.normal(0, spread, (count, 6))).astype(np.float32)
    ids = np.full(count, -1) if first_id is None else first_id + np.arange(count)
    prints = rng.integers(1, 2**62, count)
    return EmbeddedImages(rows / np.linalg.norm(rows, axis=1, keepdims=True), labels, ids, np.arange(count), prints)


def _evidence(**changes):
    parts = {
        "memory": _embedded(60, first_id=0, seed=1),
        "held_out": _embedded(400, seed=2),
        "class_names": ("a", "b", "ç", "d, e"),
        "temperature": 0.3,
        "settings": CalibrationSettings(target_risk=0.2),
    }
    return Evidence(**parts | changes)


def _probabilities(evidence, images, temperature):
    similarities = images.embeddings @ evidence.memory.embeddings.T
    return class_probabilities(similarities, evidence.memory.labels, _CLASSES, temperature=temperature).numpy()


class CalibrationSettingsTest(parameterized.TestCase):
    @parameterized.parameters(
        ({"calibrate_on": "test"}, "--calibrate_on must be one of held_out, memory, nothing. Received: test"),
        ({"target_risk": 1.0}, "--target_risk must be in 0..1, below 1. Received: 1.0"),
        ({"set_coverage": 0.0}, "--set_coverage must be above 0. Received: 0.0"),
        ({"set_coverage": -0.1}, "--set_coverage must be in 0..1, below 1. Received: -0.1"),
        ({"risk_confidence": 1.0}, "--risk_confidence must be in 0..1, below 1. Received: 1.0"),
        ({"risk_confidence": 0.0}, "--risk_confidence must be above 0. Received: 0.0"),
        ({"target_coverage": 0.5}, "Exactly one of .* Received: --target_risk=0.05 --target_coverage=0.5"),
        ({"target_risk": 0.0}, "Exactly one of .* Received: --target_risk=0.0 --target_coverage=0.0"),
    )
    def test_what_is_not_allowed_is_refused(self, changes, message):
        with self.assertRaisesRegex(ValueError, message):
            CalibrationSettings(**changes)


class CopiesTest(tf.test.TestCase):
    def _embedded(self, rows, prints):
        rows, count = np.asarray(rows, np.float32), len(rows)
        return EmbeddedImages(rows, np.zeros(count, np.int32), np.arange(count), np.arange(count), np.array(prints))

    def test_pixels_tell_where_both_are_known_and_embeddings_elsewhere(self):
        axes = np.eye(8)
        images = self._embedded(axes[:3], [11, 12, 0])
        others = self._embedded(axes[[5, 1, 2, 0, 2]], [11, 13, 14, 0, 0])
        expected = [[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 1]]
        self.assertAllEqual(images.copies(others), np.array(expected, bool))

    def test_few_numbers_do_not_tell(self):
        images = self._embedded(np.eye(4)[:2], [0, 7])
        self.assertAllEqual(images.copies(images), [[False, False], [False, True]])


class EvidenceTest(tf.test.TestCase, parameterized.TestCase):
    def test_what_is_saved_is_read_again(self):
        paths = {3: "a, b/ç.png", FIRST_ADDED_ID: os.fsdecode(b"not utf-8 \xff.png")}
        evidence = _evidence(
            settings=CalibrationSettings("memory", 0.0, 0.7, 0.8, 0.7), split="validation", paths=paths
        )
        path = pathlib.Path(self.create_tempdir().full_path) / "evidence.npz"
        evidence.save(path)
        read = Evidence.load(path)
        for part in ("memory", "held_out"):
            for field in dataclasses.fields(EmbeddedImages):
                here, there = getattr(getattr(evidence, part), field.name), getattr(getattr(read, part), field.name)
                self.assertAllEqual(here, there)
                self.assertEqual(here.dtype, there.dtype)
        self.assertEqual(
            (read.class_names, read.temperature, read.settings), (evidence.class_names, 0.3, evidence.settings)
        )
        self.assertEqual((read.split, read.paths), ("validation", paths))
        with np.load(path) as arrays:  # as an older release wrote it
            np.savez(
                path,
                **{
                    name: arrays[name]
                    for name in arrays
                    if name not in ("split", "paths", "path_ids", "trust_risk_confidence")
                },
            )
        read = Evidence.load(path)
        self.assertEqual(
            (read.settings, read.split), (dataclasses.replace(evidence.settings, risk_confidence=0.9), "held-out")
        )

    def test_one_half_of_the_held_out_images_fits_and_the_other_checks(self):
        evidence = _evidence()
        memory, report = evidence.build()
        self.assertEqual((report["fitted_on"], report["checked_on"]), (200, 200))
        fits, checks = evidence._parts()
        together = np.concatenate([fits.embeddings, checks.embeddings])
        self.assertLen(np.unique(together, axis=0), 400)
        probabilities = _probabilities(evidence, fits, memory.temperature)
        confidences, correct = probabilities.max(1), probabilities.argmax(1) == fits.labels
        self.assertLess(np.mean(~correct[confidences >= memory.threshold.numpy()]), 0.2)
        true = probabilities[np.arange(200), fits.labels]
        self.assertAllClose(memory.set_threshold, calibration.lowered(calibration.set_threshold(true, 0.9)))

    def test_what_is_measured_is_measured_on_the_other_half(self):
        evidence = _evidence()
        memory, report = evidence.build()
        _, checks = evidence._parts()
        answer = memory.classify(checks.embeddings)
        right, answered = answer["label"].numpy() == checks.labels, ~answer["abstain"].numpy()
        sets = answer["prediction_set"].numpy()
        measured = report["measured"]
        self.assertAlmostEqual(measured["accuracy"], np.mean(right))
        self.assertAlmostEqual(measured["coverage"], np.mean(answered))
        self.assertAlmostEqual(measured["risk"], np.mean(~right[answered]))
        self.assertAlmostEqual(measured["set_coverage"], np.mean(sets[np.arange(200), checks.labels]))
        self.assertAlmostEqual(measured["set_size"], np.mean(sets.sum(1)))
        self.assertBetween(measured["set_coverage"], 0.8, 1.0)
        self.assertBetween(measured["risk"], 0.0, 0.2)

    def test_the_risk_is_kept_with_the_confidence_that_is_asked_for(self):
        thresholds = []
        for certainty in (0.5, 0.9, 0.99):
            settings = CalibrationSettings(target_risk=0.1, risk_confidence=certainty)
            evidence = _evidence(held_out=_embedded(400, seed=2, spread=0.3), settings=settings)
            memory, report = evidence.build()
            fits, _ = evidence._parts()
            probabilities = _probabilities(evidence, fits, memory.temperature)
            confidences, correct = probabilities.max(1), probabilities.argmax(1) == fits.labels
            exact = calibration.threshold_for_risk(confidences, correct, 0.1, certainty=certainty)
            self.assertAllClose(memory.threshold, calibration.lowered(exact))
            self.assertFalse(memory.classify(fits.embeddings)["abstain"].numpy()[confidences >= exact].any())
            self.assertIn(f"with a confidence of {certainty:g}, at most 10.0% of", report["abstention"])
            self.assertIn("(Clopper-Pearson) upper bound on 200 held-out images", report["abstention"])
            self.assertNotIn("warning", report)
            thresholds.append(exact)
        self.assertEqual(thresholds, sorted(set(thresholds)))

    def test_a_model_that_never_answers_says_what_would_answer(self):
        few = _evidence(held_out=_embedded(44, seed=2), settings=CalibrationSettings(target_risk=0.05), split="test")
        _, report = few.build()
        self.assertEqual((report["threshold"], report["measured"]["coverage"]), (calibration.NEVER, 0))
        start = (
            "this model never answers: a risk of 0.05 with a confidence of 0.9 needs 45 or more answers, all or nearly all "
            "right, and it was calibrated on 22 test images; with --target_risk="
        )
        self.assertStartsWith(report["warning"], start)
        risk, _, rest = report["warning"].removeprefix(start).partition(" ")
        _, other = dataclasses.replace(few, settings=CalibrationSettings(target_risk=float(risk))).build()
        measured = other["measured"]
        self.assertEqual(rest, f"it answers {measured['coverage']:.1%}, {measured['risk']:.1%} of those wrong")
        self.assertGreater(measured["coverage"], 0)
        line, warning = summary(report).splitlines()
        self.assertIn("; on 22 test images (calibrated on 22 other test images): accuracy 0.", line)
        self.assertEqual(warning, f"warning: {report['warning']}")

    def test_where_no_risk_can_be_kept_a_share_of_the_images_is_offered(self):
        held_out = _embedded(40, seed=2)
        wrong = dataclasses.replace(held_out, labels=(held_out.labels + 1) % _CLASSES)
        _, report = _evidence(held_out=wrong).build()
        self.assertRegex(
            report["warning"], r"; with --target_coverage=0\.1 it answers \d+\.\d%, \d+\.\d% of those wrong$"
        )

    def test_a_model_calibrated_on_its_memory_says_so(self):
        _, report = _evidence(settings=CalibrationSettings("memory", 0.1)).build()
        self.assertIn("on 400 held-out images (calibrated on 60 labelled training images): acc", summary(report))
        _, report = _evidence(settings=CalibrationSettings("nothing", 0.1)).build()
        self.assertIn("on 400 held-out images: accuracy", summary(report))
        self.assertNotIn("abstention", report)

    @parameterized.parameters(0.3, 0.8)
    def test_a_share_of_the_images_can_be_asked_for_instead(self, coverage):
        _, report = _evidence(settings=CalibrationSettings(target_risk=0.0, target_coverage=coverage)).build()
        self.assertBetween(report["measured"]["coverage"], coverage - 0.12, coverage + 0.12)

    def test_labelled_images_can_be_judged_by_each_other(self):
        evidence = _evidence(settings=CalibrationSettings("memory", 0.1))
        memory, report = evidence.build()
        self.assertEqual((report["fitted_on"], report["checked_on"]), (60, 400))
        similarities = evidence.memory.embeddings @ evidence.memory.embeddings.T
        np.fill_diagonal(similarities, -np.inf)
        agree = evidence.memory.labels[:, np.newaxis] == evidence.memory.labels
        best = min(calibration.mean_nll(similarities, agree, t) for t in np.geomspace(0.01, 1.5, 500))
        self.assertLess(calibration.mean_nll(similarities, agree, float(memory.temperature)), best + 1e-3)

    def test_the_only_image_of_its_class_is_not_judged(self):
        few = _embedded(60, first_id=0, seed=1)
        once = few.take(np.sort([*np.flatnonzero(few.labels != 2), np.flatnonzero(few.labels == 2)[0]]))
        _, report = _evidence(memory=once, settings=CalibrationSettings("memory", 0.1)).build()
        self.assertEqual(report["fitted_on"], len(once) - 1)

    @parameterized.parameters("nothing", "memory")
    def test_where_there_is_nothing_to_fit_on_nothing_is_abstained_from(self, calibrate_on):
        few = _embedded(60, first_id=0, seed=1)
        one_each = few.take(np.unique(few.labels, return_index=True)[1])
        memory, report = _evidence(memory=one_each, settings=CalibrationSettings(calibrate_on, 0.1)).build()
        self.assertEqual(report["fitted_on"], 0)
        self.assertEqual((report["threshold"], report["set_threshold"]), (0, 0))
        self.assertAllClose(memory.temperature, 0.3)
        answer = memory.classify(_embedded(20).embeddings)
        self.assertFalse(answer["abstain"].numpy().any())
        self.assertTrue(answer["prediction_set"].numpy().all())

    def test_a_file_without_groups_is_read_as_if_every_image_showed_its_own_thing(self):
        evidence = _evidence(held_out=dataclasses.replace(_embedded(400, seed=2), ids=np.full(400, -1)))
        path = pathlib.Path(self.create_tempdir().full_path) / "evidence.npz"
        evidence.save(path)
        with np.load(path) as arrays:
            np.savez(path, **{name: arrays[name] for name in arrays if not name.endswith("groups")})
        self.assertEqual(Evidence.load(path).build()[1], evidence.build()[1])

    def test_pictures_of_the_same_thing_do_not_vote_for_each_other(self):
        memory = _embedded(60, first_id=0, seed=1)
        twice = dataclasses.replace(memory.join(memory), ids=np.arange(120))
        self.assertAllEqual(np.sort(twice.groups), np.repeat(np.arange(60), 2))
        settings = CalibrationSettings("memory", 0.1)
        alone, doubled = (_evidence(memory=part, settings=settings).build()[1] for part in (memory, twice))
        apart = _evidence(memory=dataclasses.replace(twice, groups=np.arange(120)), settings=settings).build()[1]
        self.assertAllClose(doubled["temperature"], alone["temperature"], rtol=0.05)
        self.assertLess(apart["temperature"], alone["temperature"] / 2)

    def test_held_out_pictures_of_the_same_thing_are_judged_in_one_half(self):
        held_out = dataclasses.replace(_embedded(90, seed=2), groups=np.arange(90) // 3)
        fitted, checked = _evidence(held_out=held_out)._parts()
        self.assertEmpty(set(fitted.groups) & set(checked.groups))
        self.assertEqual((len(fitted), len(checked)), (45, 45))

    def test_a_copy_that_was_added_does_not_judge_a_held_out_picture(self):
        plain = _evidence()
        copies = plain.held_out.take(np.arange(200))
        added = dataclasses.replace(copies, ids=FIRST_ADDED_ID + np.arange(200), groups=FIRST_ADDED_ID + np.arange(200))
        similarities = _evidence(memory=plain.memory.join(added))._similarities(copies)
        self.assertAllEqual(np.diag(similarities[:, 60:]), np.full(200, -np.inf))
        self.assertEqual(np.count_nonzero(np.isinf(similarities)), 200)

    def test_a_held_out_class_that_nothing_votes_for_counts_as_wrong(self):
        evidence = _evidence(held_out=_embedded(4000, seed=2), settings=CalibrationSettings(target_risk=0.3))
        few = evidence.memory.take(evidence.memory.labels != 3)
        _, report = dataclasses.replace(evidence, memory=few).build()
        self.assertEqual(report["fitted_on"], 2000)
        self.assertAllClose(report["measured"]["risk"], 0.3, atol=0.04)
        self.assertGreater(report["threshold"], evidence.build()[1]["threshold"])

    def test_what_coarser_weights_cost_is_told(self):
        exact = _evidence()
        rows = np.round(exact.held_out.embeddings * 2) + 0.01
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        coarse = dataclasses.replace(exact, held_out=dataclasses.replace(exact.held_out, embeddings=rows))
        cost = coarse.compare(exact)
        accuracies = [evidence.build()[1]["measured"]["accuracy"] for evidence in (exact, coarse)]
        self.assertEqual(cost["accuracy_in_float32"], accuracies[0])
        self.assertAlmostEqual(cost["loss_of_accuracy"], accuracies[0] - accuracies[1])
        similarities = np.einsum("nd,nd->n", rows, exact.held_out.embeddings)
        self.assertAllClose(
            [cost["mean_similarity"], cost["least_similarity"]], [similarities.mean(), similarities.min()]
        )
        unseen = exact.held_out.take(np.zeros(0, int))
        self.assertEqual(dataclasses.replace(exact, held_out=unseen).compare(exact), {})
        one = dataclasses.replace(exact, held_out=_embedded(1, seed=2))  # it calibrates; none is left to judge by
        self.assertEqual(one.compare(one), {})


def _logits(evidence, memory, images, answers):
    """Class logits of the images in plain NumPy, from classifiers fitted to the memory."""
    logits = np.full([len(images), _CLASSES], -np.inf)
    if answers == "class_means":
        for name in np.unique(memory.labels):
            mean = memory.embeddings[memory.labels == name].mean(0)
            logits[:, name] = images.embeddings @ (mean / np.linalg.norm(mean))
    else:
        fitted = fit_logistic_regression(memory.embeddings, memory.labels, population=evidence.population)
        logits[:, fitted.classes] = fitted.logits(images.embeddings)
    return logits


def _nll(logits, labels, temperature):
    scaled = logits / temperature
    return np.mean(
        np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1))
        + scaled.max(1)
        - scaled[range(len(labels)), labels]
    )


class AnswersTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("class_means", "logistic_regression")
    def test_answers_are_the_calibrated_softmax_of_their_logits(self, answers):
        population = Moments(np.full(6, 0.1), np.linspace(0.1, 0.3, 6))
        settings = CalibrationSettings(target_risk=0.3)
        evidence = _evidence(answers=answers, population=population, settings=settings)
        memory, report = evidence.build()
        fits, checks = evidence._parts()
        logits = _logits(evidence, evidence.memory, fits, answers)
        coarse = np.geomspace(1e-3, 1e3, 2000)
        best = coarse[np.argmin([_nll(logits, fits.labels, t) for t in coarse])]
        scaled = _logits(evidence, evidence.memory, checks, answers) / best
        expected = np.exp(scaled - scaled.max(1, keepdims=True))
        expected /= expected.sum(1, keepdims=True)
        answer = memory.classify(checks.embeddings)
        self.assertAllClose(answer["probabilities"], expected, atol=0.02)
        self.assertAllEqual(answer["label"], expected.argmax(1))
        self.assertAlmostEqual(report["measured"]["accuracy"], np.mean(expected.argmax(1) == checks.labels), delta=1e-6)
        self.assertEqual((report["fitted_on"], report["checked_on"]), (200, 200))
        fitted = memory.classify(fits.embeddings)
        wrong = fitted["label"].numpy() != fits.labels
        self.assertLessEqual(np.mean(wrong[~fitted["abstain"].numpy()]), 0.3)
        self.assertGreater(report["measured"]["coverage"], 0)

    @parameterized.parameters("class_means", "logistic_regression")
    def test_labelled_images_are_judged_by_classifiers_that_were_fitted_without_these(self, answers):
        evidence = _evidence(answers=answers, settings=CalibrationSettings("memory", 0.1))
        memory, report = evidence.build()
        self.assertEqual((report["fitted_on"], report["checked_on"]), (60, 400))
        answer = memory.classify(evidence.memory.embeddings)
        sure = answer["probability"].numpy()  # of images that the classifier was fitted to
        right = np.mean(answer["label"].numpy() == evidence.memory.labels)
        held_out = report["measured"]
        self.assertLess(held_out["calibration_error"], 0.12)
        self.assertLess(np.mean(sure), right + 0.05)

    @parameterized.parameters("class_means", "logistic_regression")
    def test_where_nothing_can_be_fitted_the_scores_have_their_own_temperature(self, answers):
        evidence = _evidence(answers=answers, settings=CalibrationSettings("nothing", 0.1))
        memory, report = evidence.build()
        self.assertEqual(report["fitted_on"], 0)
        images = _embedded(20, seed=5)
        logits = _logits(evidence, evidence.memory, images, answers) / (0.3 if answers == "class_means" else 1)
        expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        self.assertAllClose(memory.classify(images.embeddings)["probabilities"], expected, atol=2e-3)

    def test_a_class_without_a_remembered_image_is_never_answered(self):
        evidence = _evidence()
        few = dataclasses.replace(evidence, memory=evidence.memory.take(evidence.memory.labels != 2))
        for answers in ("class_means", "logistic_regression"):
            memory, _ = dataclasses.replace(few, answers=answers).build()
            probabilities = memory.classify(evidence.held_out.embeddings)["probabilities"]
            self.assertEqual(probabilities.shape, (400, 4))
            self.assertAllEqual(probabilities[:, 2], np.zeros(400))

    def test_the_comparison_is_what_each_way_to_answer_measures(self):
        for settings in (CalibrationSettings(target_risk=0.1), CalibrationSettings("memory", 0.1)):
            evidence = _evidence(settings=settings)
            compared = evidence.compare_answers()
            self.assertEqual(compared["measured_on"], "held_out")
            self.assertEqual(list(compared["accuracy"]), ["vote", "class_means", "logistic_regression"])
            for answers, accuracy in compared["accuracy"].items():
                _, report = dataclasses.replace(evidence, answers=answers).build()
                self.assertAlmostEqual(accuracy, report["measured"]["accuracy"], delta=1e-6)
                self.assertEqual(compared["images"], report["checked_on"])

    def test_without_held_out_images_the_labelled_ones_are_compared_on(self):
        evidence = _evidence()
        labelled = evidence.memory.take(evidence.memory.labels != 3)
        alone = evidence.memory.take(np.flatnonzero(evidence.memory.labels == 3)[:1])  # nothing can judge it
        evidence = dataclasses.replace(
            evidence, memory=labelled.join(alone), held_out=evidence.held_out.take(np.zeros(0, int))
        )
        compared = evidence.compare_answers()
        self.assertEqual((compared["measured_on"], compared["images"]), ("labelled", len(labelled)))
        similarities = evidence._similarities(labelled)
        agree = labelled.labels[:, np.newaxis] == evidence.memory.labels
        temperature = calibration.fit_temperature(similarities, agree)
        votes = class_probabilities(
            similarities, evidence.memory.labels, 4, temperature=np.float32(temperature)
        ).numpy()
        self.assertAlmostEqual(compared["accuracy"]["vote"], np.mean(votes.argmax(1) == labelled.labels), delta=1e-6)
        self.assertEqual(evidence.answering("auto").answers, max(compared["accuracy"], key=compared["accuracy"].get))
        nothing = dataclasses.replace(evidence, memory=alone)
        self.assertEqual(nothing.compare_answers()["accuracy"], {})
        self.assertEqual(nothing.answering("auto").answers, "vote")

    def test_a_regression_that_takes_long_is_neither_compared_nor_chosen(self):
        evidence = _evidence()
        with mock.patch.object(answers_module, "_MOST_WEIGHTS", 60 * 6 * 4 - 1):
            self.assertEqual(list(evidence.compare_answers()["accuracy"]), ["vote", "class_means"])
            self.assertEqual(dataclasses.replace(evidence, answers="logistic_regression").build()[1]["fitted_on"], 200)

    def test_an_added_picture_without_a_fingerprint_does_not_judge_itself(self):
        memory = _embedded(60, first_id=FIRST_ADDED_ID, seed=1)
        memory = dataclasses.replace(memory, fingerprints=np.zeros(60, np.int64), groups=memory.ids)
        similarities = _evidence(memory=memory)._similarities(memory)
        self.assertAllEqual(np.isneginf(similarities), np.eye(60, dtype=bool))

    def test_the_best_answers_are_chosen_on_the_images_that_are_fitted(self):
        evidence = _evidence()
        fits, checks = evidence._parts()
        with mock.patch.object(
            Evidence, "_accuracies", return_value={"vote": 0.5, "class_means": 0.7, "x": 0.7}
        ) as judge:
            self.assertEqual(evidence.answering("auto").answers, "class_means")
        self.assertAllEqual(judge.call_args.args[1].embeddings, fits.embeddings)
        self.assertAllEqual(judge.call_args.args[0].embeddings, fits.embeddings)
        self.assertNotAllEqual(checks.embeddings, fits.embeddings)
        self.assertEqual(evidence.answering("logistic_regression").answers, "logistic_regression")

    def test_answers_views_and_moments_are_saved_and_older_files_vote(self):
        path = pathlib.Path(self.create_tempdir().full_path) / "evidence.npz"
        population = Moments(np.full(6, 0.1), np.linspace(0.1, 0.3, 6))
        for moments in (None, population):
            evidence = _evidence(answers="logistic_regression", views=5, population=moments)
            evidence.save(path)
            read = Evidence.load(path)
            self.assertEqual((read.answers, read.views), ("logistic_regression", 5))
            if moments is None:
                self.assertIsNone(read.population)
            else:
                self.assertAllEqual(read.population, moments)
            self.assertEqual(read.build()[1], evidence.build()[1])
        with np.load(path) as arrays:
            new = ("answers", "views", "split", "paths", "population_mean", "population_variances")
            np.savez(path, **{name: arrays[name] for name in arrays if name not in new})
        self.assertEqual(dataclasses.astuple(Evidence.load(path))[5:], ("vote", 1, None, "held-out", {}))

    def test_the_summary_says_how_it_answers_unless_it_votes(self):
        for answers, expected in (("vote", ""), ("class_means", ", answers by class means")):
            evidence = _evidence(answers=answers)
            _, report = evidence.build()
            self.assertStartsWith(
                summary(report), f"remembers 60 images of 4 classes{expected}; on 200 held-out images"
            )


if __name__ == "__main__":
    tf.test.main()
