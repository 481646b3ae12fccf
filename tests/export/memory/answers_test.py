"""Tests of semppl.export.memory.answers."""

import numpy as np
from absl.testing import absltest, parameterized

from semppl.evaluation.logistic_regression import Moments, fit_logistic_regression, refit
from semppl.evaluation.neighbours.class_means import class_means
from semppl.export.memory import answers
from semppl.export.memory.answers import Answerer
from semppl.export.memory.embedded_images import EmbeddedImages


def _embedded(count, seed, *, classes=3, width=5):
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % classes).astype(np.int32) * 2
    rows = (np.eye(classes, width)[labels // 2] + 0.4 * rng.standard_normal((count, width))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return EmbeddedImages(rows, labels, np.arange(count), np.arange(count), np.arange(count) + 1)


_MOMENTS = Moments(np.full(5, 0.1), np.linspace(0.1, 0.5, 5))


class AnswererTest(parameterized.TestCase):
    def test_a_vote_is_by_the_remembered_embeddings(self):
        memory, images = _embedded(9, 0), _embedded(4, 1)
        barred = np.random.default_rng(0).integers(0, 2, (4, 9)).astype(bool)
        answerer = Answerer("vote", memory, None)
        expected = [
            [-np.inf if barred[i, j] else float(images.embeddings[i] @ memory.embeddings[j]) for j in range(9)]
            for i in range(4)
        ]
        np.testing.assert_allclose(answerer.scores(images, barred), expected, atol=1e-6)
        self.assertEqual(answerer.voters.classes.tolist(), memory.labels.tolist())
        self.assertIsNone(answerer.temperature)

    def test_class_means_are_one_voter_per_class(self):
        memory, images = _embedded(9, 0), _embedded(4, 1)
        answerer = Answerer("class_means", memory, _MOMENTS)
        means, classes = class_means(memory.embeddings, memory.labels)
        scores = answerer.scores(images, np.zeros((4, 9), bool))
        np.testing.assert_allclose(scores, images.embeddings @ means.T, atol=1e-6)
        self.assertEqual(answerer.voters.classes.tolist(), classes.tolist())
        self.assertIsNone(answerer.temperature)

    @parameterized.parameters((None,), (_MOMENTS,))
    def test_scores_of_logistic_regression_over_its_temperature_are_logits(self, population):
        memory, images = _embedded(21, 0), _embedded(4, 1)
        answerer = Answerer("logistic_regression", memory, population)
        fitted = fit_logistic_regression(memory.embeddings, memory.labels, population=population)
        scores = answerer.scores(images, np.zeros((4, 21), bool))
        np.testing.assert_allclose(
            scores / answerer.temperature, fitted.logits(images.embeddings), rtol=2e-3, atol=2e-3
        )
        self.assertAlmostEqual(np.linalg.norm(answerer.voters.kernel, axis=1).max(), 1.0, delta=1e-3)
        self.assertEqual(answerer.voters.classes.tolist(), [0, 2, 4])

    @parameterized.parameters("class_means", "logistic_regression")
    def test_images_are_scored_without_those_that_must_not_vote(self, name):
        memory = _embedded(21, 0)
        barred = np.zeros((3, 21), bool)
        barred[1, [0, 3, 4]] = True
        images = _embedded(3, 1)
        answerer = Answerer(name, memory, _MOMENTS)
        scores = answerer.scores(images, barred)
        rest = memory.take(~barred[1])
        whole = answerer.voters.scores(images.embeddings)
        if name == "class_means":
            expected = images.embeddings[1] @ class_means(rest.embeddings, rest.labels)[0].T
        else:
            chosen = fit_logistic_regression(memory.embeddings, memory.labels, population=_MOMENTS)
            fitted = refit(chosen, rest.embeddings, rest.labels, population=_MOMENTS)
            expected = fitted.logits(images.embeddings[1:2])[0] * answerer.temperature
        np.testing.assert_allclose(scores, [whole[0], expected, whole[2]], atol=1e-5)

    def test_in_five_rounds_every_image_is_scored_without_its_own_group(self):
        memory = _embedded(33, 0).take(np.random.default_rng(1).permutation(33))
        answerer = Answerer("class_means", memory, None)
        rounds = list(answers._rounds(memory.labels, np.eye(33, dtype=bool)))
        self.assertEqual([len(rows) for rows, _ in rounds], [0, 7, 7, 7, 6, 6])
        scores = answerer.scores(memory, np.eye(33, dtype=bool))
        for rows, allowed in rounds[1:]:
            self.assertEqual(np.flatnonzero(~allowed).tolist(), sorted(rows.tolist()))
            counts = np.bincount(memory.labels[rows] // 2)
            self.assertLessEqual(counts.max() - counts.min(), 1)
            rest = memory.take(allowed)
            means, _ = class_means(rest.embeddings, rest.labels)
            np.testing.assert_allclose(scores[rows], memory.embeddings[rows] @ means.T, atol=1e-6)

    def test_a_class_without_a_voter_has_no_score(self):
        memory = _embedded(6, 0).take(np.array([0, 1, 2, 4]))  # one image of classes 0 and 4, two of class 2
        scores = Answerer("class_means", memory, None).scores(memory, np.eye(4, dtype=bool))
        self.assertEqual(
            np.isneginf(scores).tolist(), [[True, False, False], [False] * 3, [False, False, True], [False] * 3]
        )
        nothing = Answerer("class_means", memory, None).scores(memory, np.ones((4, 4), bool))
        self.assertTrue(np.isneginf(nothing).all())

    def test_one_class_is_the_answer_to_everything(self):
        memory = _embedded(6, 0, classes=1)
        answerer = Answerer("logistic_regression", memory, None)
        self.assertEqual(answerer.temperature, 1.0)
        self.assertEqual(answerer.voters.classes.tolist(), [0])

    def test_a_regression_on_a_large_memory_is_not_fitted_just_to_compare(self):
        memory = _embedded(9, 0)
        self.assertTrue(answers.is_affordable("logistic_regression", memory))
        with absltest.mock.patch.object(answers, "_MOST_WEIGHTS", 9 * 5 * 3 - 1):
            self.assertFalse(answers.is_affordable("logistic_regression", memory))
            self.assertTrue(answers.is_affordable("class_means", memory))


if __name__ == "__main__":
    absltest.main()
