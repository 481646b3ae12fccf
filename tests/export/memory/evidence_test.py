"""Tests of semppl.export.memory.evidence."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.export.memory import calibration
from semppl.export.memory.calibration import CalibrationSettings
from semppl.export.memory.embedded_images import FIRST_ADDED_ID, EmbeddedImages
from semppl.export.memory.evidence import Evidence
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
        "settings": CalibrationSettings(target_risk=0.1),
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
        evidence = _evidence(settings=CalibrationSettings("memory", 0.0, 0.7, 0.8))
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

    def test_one_half_of_the_held_out_images_fits_and_the_other_checks(self):
        evidence = _evidence()
        memory, report = evidence.build()
        self.assertEqual((report["fitted_on"], report["checked_on"]), (200, 200))
        fits, checks = evidence._parts()
        together = np.concatenate([fits.embeddings, checks.embeddings])
        self.assertLen(np.unique(together, axis=0), 400)
        probabilities = _probabilities(evidence, fits, memory.temperature)
        confidences, correct = probabilities.max(1), probabilities.argmax(1) == fits.labels
        self.assertLess(np.mean(~correct[confidences >= memory.threshold.numpy()]), 0.1)
        true = probabilities[np.arange(200), fits.labels]
        self.assertAllClose(memory.set_threshold, calibration.set_threshold(true, 0.9))

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


if __name__ == "__main__":
    tf.test.main()
