"""Tests of semppl.evaluation.logistic_regression."""

import math
import warnings
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from sklearn import linear_model, model_selection

from semppl.evaluation import logistic_regression
from semppl.evaluation.logistic_regression import (
    Moments,
    fit_by_default,
    fit_logistic_regression,
    logistic_regression_classes,
    refit,
)


def _blobs(count, seed, spread=0.5):
    """Three classes around three corners of a space where each axis has a scale of its own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3 + 4
    points = 3 * np.eye(3)[labels - 4] + spread * rng.standard_normal((count, 3))
    return points * [1e-3, 1.0, 1e3], labels


def _overlapping(seed, *, count=40, width=6, classes=4):
    """Classes that overlap, in a space whose axes differ in scale and offset; a seed differs in noise and norms too."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes + 10
    centres = rng.standard_normal((classes, width))
    points = centres[labels - 10] + (0.3 + 0.4 * (seed % 5)) * rng.standard_normal((count, width))
    points *= np.exp((seed % 3) * rng.standard_normal(width))
    return points * np.exp((seed % 2) * rng.standard_normal((count, 1))), labels


def _scaled(rows, population, scaling):
    """The three scalings in plain loops: unit norm or not, then each axis or all axes together."""

    def normed(row):
        length = math.sqrt(sum(float(value) ** 2 for value in row)) if scaling == "unit_norm" else 1.0
        return [float(value) / length for value in row]

    columns = list(zip(*(normed(row) for row in population), strict=True))
    means = [sum(column) / len(column) for column in columns]
    variances = [
        sum((value - mean) ** 2 for value in column) / len(column) for column, mean in zip(columns, means, strict=True)
    ]
    total = sum(variances)
    factors = [
        1 / math.sqrt(variance * len(columns)) if scaling == "standardised" else 1 / math.sqrt(total)
        for variance in variances
    ]
    return np.array(
        [
            [(value - mean) * factor for value, mean, factor in zip(normed(row), means, factors, strict=True)]
            for row in rows
        ]
    )


def _oracle(features, labels, population):
    """Returns scaling and strength by held-out losses, with scikit-learn's folds and no short cut."""
    losses = {}
    for scaling in ("unit_norm", "standardised", "plain"):
        rows = _scaled(features, population, scaling)
        for strength in (1.0, 10.0, 100.0, 1000.0, 10000.0):
            losses[scaling, strength] = []
            folds = model_selection.StratifiedKFold(5, shuffle=True, random_state=0)
            for training, held_out in folds.split(rows, labels):
                model = linear_model.LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-7)
                model.fit(rows[training], labels[training])
                for row, label in zip(rows[held_out], labels[held_out], strict=True):
                    logits = model.coef_ @ row + model.intercept_
                    own = logits[list(model.classes_).index(label)]
                    losses[scaling, strength].append(math.log(sum(math.exp(logit - own) for logit in logits)))
    best = None
    for scaling in ("unit_norm", "standardised", "plain"):
        candidate = min((key for key in losses if key[0] == scaling), key=lambda key: sum(losses[key]))
        if best is None:
            best = candidate
            continue
        gains = [a - b for a, b in zip(losses[best], losses[candidate], strict=True)]
        mean = sum(gains) / len(gains)
        deviation = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / len(gains))
        if mean > deviation / math.sqrt(len(gains)):
            best = candidate
    return best


class LogisticRegressionTest(parameterized.TestCase):
    @parameterized.parameters(3, 6, 60)
    def test_classes_that_lie_apart_are_told_apart_whatever_the_scale(self, count):
        features, labels = _blobs(count, 0)
        queries, truth = _blobs(300, 1)
        classes = logistic_regression_classes(features, labels, queries)
        self.assertGreater(np.mean(classes == truth), 0.97)

    def test_one_example_a_class_is_fitted_with_a_strength_of_1000(self):
        # Features −1 and 1, so standardised already, and by symmetry the border is at 0 for any strength.
        features, labels = np.array([[-1.0], [1.0]]), np.array([3, 8])
        classes = logistic_regression_classes(features, labels, np.array([[-0.1], [0.1]]))
        self.assertEqual(classes.tolist(), [3, 8])
        self.assertEqual(fit_logistic_regression(features, labels).strength, 1000.0)
        self.assertEqual(fit_by_default(features, labels).strength, 1.0)

    @parameterized.parameters((19, 1000.0), (20, None))
    def test_nothing_is_chosen_on_fewer_than_20_images(self, held_out, expected):
        random = np.random.default_rng(0)
        labels = np.append(np.arange(held_out) % 2, [2, 3])  # the last two are never held out
        features = random.normal(size=(len(labels), 4)) + 3 * np.eye(4)[labels]
        with mock.patch.object(logistic_regression, "_STRENGTHS", np.array([7.0])):
            self.assertEqual(fit_logistic_regression(features, labels).strength, expected or 7.0)

    def test_classes_with_two_images_do_not_take_the_queries_of_those_with_one(self):
        axes = np.eye(6)
        labels = np.array([0, 0, 1, 1, 2, 3, 4, 5])
        classes = logistic_regression_classes(axes[labels], labels, axes)
        self.assertEqual(classes.tolist(), [0, 1, 2, 3, 4, 5])

    def test_one_example_a_class_is_scaled_to_unit_norm_unless_one_feature_dominates(self):
        for spread, expected in ((1.3, "unit_norm"), (1.5, "standardised")):  # variances: 1, 1, spread²
            features = np.diag([1.0, 1.0, spread])
            self.assertEqual(fit_logistic_regression(features, np.arange(3)).scaling, expected)
        dominated = np.diag([1.0, 1.0, 1.5])
        fitted = fit_logistic_regression(np.eye(3), np.arange(3), population=dominated)
        self.assertEqual(fitted.scaling, "standardised")

    def test_the_strength_is_the_one_that_serves_images_held_out(self):
        features, labels = _blobs(90, 0)
        keep = np.flatnonzero((labels == 4) | (np.arange(90) < 45))  # the first class is the largest
        features, labels = features[keep], labels[keep]
        queries, truth = _blobs(300, 1)
        for strengths, expected in (
            ([1e-9], 1 / 3),
            ([1e-9, 1.0], 1.0),
        ):  # so strong that the largest class always wins
            with mock.patch.object(logistic_regression, "_STRENGTHS", strengths):
                classes = logistic_regression_classes(features, labels, queries)
            self.assertAlmostEqual(np.mean(classes == truth), expected, delta=0.03)

    def test_the_answer_is_the_same_every_time(self):
        features, labels = _blobs(40, 0, spread=4.0)
        queries, _ = _blobs(200, 1, spread=4.0)
        first, second = (logistic_regression_classes(features, labels, queries) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_of_many_images_one_part_is_held_out(self):
        features, labels = _blobs(logistic_regression._MANY, 0)
        queries, truth = _blobs(300, 1)
        with mock.patch.object(model_selection, "StratifiedKFold", side_effect=AssertionError("five parts")):
            classes = logistic_regression_classes(features, labels, queries)
        self.assertGreater(np.mean(classes == truth), 0.97)

    @parameterized.parameters(8, 9, 12, 16, 20, 21)
    def test_scaling_and_strength_are_those_of_the_least_loss_in_plain_loops(self, seed):
        (features, labels), (population, _) = _overlapping(seed), _overlapping(seed + 30, count=60)
        fitted = fit_logistic_regression(features, labels, population=population)
        self.assertEqual((fitted.scaling, fitted.strength), _oracle(features, labels, population))

    @parameterized.product(width=(6, 50), classes=(2, 4), seed=(0, 1))
    def test_the_classifier_is_the_optimum_on_scaled_features_in_fewer_dimensions_too(self, width, classes, seed):
        (features, labels), (queries, _) = (_overlapping(s, width=width, classes=classes) for s in (seed, seed + 30))
        with mock.patch.object(logistic_regression, "_STRENGTHS", [1.0, 10.0]):  # weaker ones converge slowly
            fitted = fit_logistic_regression(features, labels, population=queries)
        rows, scaled = (_scaled(part, queries, fitted.scaling) for part in (features, queries))
        exact = linear_model.LogisticRegression(C=fitted.strength, solver="newton-cholesky", tol=1e-8)
        expected = exact.fit(rows, labels).predict_proba(scaled)
        powers = np.exp(fitted.logits(queries))
        np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), expected, atol=2e-3)
        self.assertEqual(fitted.classes.tolist(), sorted(set(labels)))

    def test_equal_losses_go_to_unit_norm_and_the_least_strength(self):
        features, labels = _overlapping(2)
        features /= np.linalg.norm(features, axis=1, keepdims=True)  # so that plain features are the same
        worse = np.add.outer(np.arange(5.0), np.zeros(40))
        losses = [worse, worse + 1, worse]
        with mock.patch.object(logistic_regression, "_held_out_losses", side_effect=losses):
            fitted = fit_logistic_regression(features, labels)
        self.assertEqual((fitted.scaling, fitted.strength), ("unit_norm", 1.0))

    @parameterized.parameters((0.14, "unit_norm"), (0.18, "standardised"))
    def test_another_scaling_must_be_better_by_a_standard_error(self, gain, expected):
        features, labels = _overlapping(2)
        losses = np.zeros([5, 40])
        noise = np.tile([1.0, -1.0], 20)  # a deviation of 1, so a standard error of 1/√40 = 0.158
        with mock.patch.object(
            logistic_regression, "_held_out_losses", side_effect=[losses + 1, losses + 1 - gain + noise, losses + 1]
        ):
            self.assertEqual(fit_logistic_regression(features, labels).scaling, expected)

    def test_the_folds_are_those_of_seed_0_by_default(self):
        sets = [(_overlapping(seed), _overlapping(seed + 30, count=200)[0]) for seed in range(4)]

        def classes(**seed):
            return [logistic_regression.logistic_regression_classes(*rows, queries, **seed) for rows, queries in sets]

        default = classes()
        np.testing.assert_array_equal(default, classes(seed=0))
        self.assertFalse(all(np.array_equal(default, classes(seed=seed)) for seed in (1, 2)))
        kernels = [logistic_regression.fit_logistic_regression(*rows).kernel for rows, _ in sets]
        seeded = [logistic_regression.fit_logistic_regression(*rows, seed=0).kernel for rows, _ in sets]
        np.testing.assert_array_equal(kernels, seeded)

    @parameterized.parameters(range(4))
    def test_moments_stand_for_a_population_of_unit_norm(self, seed):
        (features, labels), (population, _) = _overlapping(seed), _overlapping(seed + 30, count=60)
        features, population = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (features, population))
        moments = Moments(population.mean(0), population.var(0))
        whole, short = (fit_logistic_regression(features, labels, population=part) for part in (population, moments))
        np.testing.assert_allclose(short.kernel, whole.kernel, rtol=1e-6, atol=1e-9)
        self.assertEqual(
            short.strength, whole.strength
        )  # rows of unit norm scaled to unit norm are a tie of two scalings
        again = refit(short, features, labels, population=moments)
        np.testing.assert_allclose(again.logits(population), whole.logits(population), atol=1e-6)
        for part in (population, moments):
            alone = fit_by_default(features[:4], labels[:4], population=part)
            exact = fit_by_default(features[:4], labels[:4], population=population)
            np.testing.assert_allclose(alone.kernel, exact.kernel, rtol=1e-6, atol=1e-9)

    def test_the_only_image_of_a_class_is_never_held_out(self):
        labels = np.array([0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3])
        splits = list(logistic_regression.held_out_parts(labels, 0))
        self.assertLen(splits, 5)
        held_out = np.concatenate([part for _, part in splits])
        self.assertEqual(sorted(held_out), [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12])
        for training, part in splits:
            self.assertEqual(sorted([*training, *part]), list(range(13)))
            self.assertEqual(set(labels[training]), {0, 1, 2, 3})

    def test_of_two_images_a_class_each_is_held_out_once(self):
        splits = list(logistic_regression.held_out_parts(np.array([5, 5, 6, 6]), 0))
        self.assertLen(splits, 2)
        for training, held_out in splits:
            self.assertEqual(sorted([*training, *held_out]), [0, 1, 2, 3])
            self.assertEqual((sorted(training // 2), sorted(held_out // 2)), ([0, 1], [0, 1]))

    def test_of_very_many_images_two_thousand_are_used_for_the_choice(self):
        labels = np.append(np.arange(3000) % 3, [7, 8, 8])
        ((training, held_out),) = logistic_regression.held_out_parts(labels, 0)
        self.assertEqual((len(training), len(held_out)), (1601, 400))
        self.assertIn(3000, training)
        self.assertEmpty(set(training) & set(held_out))
        self.assertContainsSubset(set(labels[held_out]), set(labels[training]))

    @parameterized.parameters((1998, 5), (1999, 5), (2000, 1), (2001, 1))
    def test_five_folds_become_one_fifth_of_two_thousand_images(self, count, parts):
        splits = list(logistic_regression.held_out_parts(np.arange(count) % 3, 0))
        self.assertLen(splits, parts)
        for training, held_out in splits:
            self.assertAlmostEqual(len(held_out), 400, delta=1)
            self.assertAlmostEqual(len(training), 1600, delta=2)

    @parameterized.parameters((4, 4), (5, 5), (9, 5))
    def test_there_are_no_more_folds_than_images_of_the_largest_class(self, count, folds):
        labels = np.append(np.zeros(count, int), [1, 1])
        self.assertLen(list(logistic_regression.held_out_parts(labels, 0)), folds)

    def test_every_strength_of_the_grid_is_tried_and_no_other(self):
        features, labels = _overlapping(0)
        tried = []
        model = logistic_regression._model

        def noted():
            made = model()
            made.set_params = mock.Mock(side_effect=lambda C: tried.append(C) or type(made).set_params(made, C=C))
            return made

        with mock.patch.object(logistic_regression, "_model", side_effect=noted):
            fit_logistic_regression(features, labels)
        self.assertEqual(tried[:-1], 3 * 5 * [1.0, 10.0, 100.0, 1000.0, 10000.0])  # scalings × folds
        self.assertIn(tried[-1], tried[:5])

    def test_what_is_not_chosen_has_unit_strength_in_the_optimum_too(self):
        features, labels = np.diag([1.0, 1.0, 1.3]), np.arange(3)
        fitted = fit_by_default(features, labels)
        rows = _scaled(features, features, "unit_norm")
        exact = linear_model.LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-8).fit(rows, labels)
        powers = np.exp(fitted.logits(features))
        np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), exact.predict_proba(rows), atol=1e-3)

    @parameterized.parameters(500, 1_000)
    def test_each_of_many_classes_is_held_out_once_at_least(self, classes):
        labels = np.arange(5 * classes) % classes
        ((training, held_out),) = logistic_regression.held_out_parts(labels, seed=0)
        self.assertLen(set(labels[training]), classes)
        self.assertLen(set(labels[held_out]), classes)
        self.assertEmpty(set(training) & set(held_out))

    def test_one_class_is_the_answer_to_everything(self):
        fitted = fit_logistic_regression(np.eye(3), np.array([4, 4, 4]))
        self.assertEqual(fitted.predict(np.ones([2, 3])).tolist(), [4, 4])

    def test_constant_features_are_no_division_by_zero(self):
        features, labels = _overlapping(0)
        features = np.concatenate([features, np.full([40, 3], [0.0, 0.1, 1 / 3])], 1)
        self.assertGreater(features.var(0)[7:].max(), 0)  # by rounding
        with mock.patch.object(logistic_regression, "SCALINGS", ("standardised",)):
            fitted = fit_logistic_regression(features, labels)
        np.testing.assert_allclose(fitted.kernel[6:], 0, atol=1e-6)
        self.assertTrue(np.isfinite(fitted.logits(features)).all())

    def test_nothing_is_said_on_the_way(self):
        features, labels = _overlapping(0)
        with warnings.catch_warnings(), mock.patch.object(logistic_regression, "_ITERATIONS", 2):
            warnings.simplefilter("error")
            fit_logistic_regression(features[:9], labels[:9])  # a class of three among classes of two


if __name__ == "__main__":
    absltest.main()
