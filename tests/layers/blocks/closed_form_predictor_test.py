"""Tests of semppl.layers.blocks.closed_form_predictor, against plain loops and eigenvalues in NumPy."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.family import PREDICTORS
from semppl.layers.blocks.closed_form_predictor import (
    CLOSED_FORMS,
    ClosedFormPredictor,
    covariance,
    covariance_of_pairs,
)
from semppl.tests import testing
from semppl.tests.losses.baselines.checks import unit


def _covariance_by_loops(projections, targets=None):
    """Means of D·z'·zᵀ over images and views, or over pairs of different views."""
    num_views, batch, width = projections.shape
    products = []
    for b in range(batch):
        for v in range(num_views):
            for w in range(num_views):
                if targets is None and v == w:
                    products.append(np.outer(projections[v, b], projections[v, b]))
                elif targets is not None and v != w:
                    products.append(np.outer(targets[w, b], projections[v, b]))
    return width * sum(products) / len(products)


def _iterate(value, norm, iterations):
    root, inverse = value / norm, 1.0
    for _ in range(iterations):
        change = (3 - inverse * root) / 2
        root, inverse = root * change, inverse * change
    return root * norm**0.5, inverse / norm**0.5


def _expected(kind, matrix):
    """P of a matrix by its eigenvalues, or singular values."""
    if kind == "stiefel":
        left, values, right = np.linalg.svd(matrix)
        norm = np.linalg.norm(values**2)
        return left @ np.diag([value * _iterate(value**2, norm, 9)[1] for value in values]) @ right
    values, vectors = np.linalg.eigh(matrix)
    if kind == "direct_pred":
        values = np.sqrt(values)
    elif kind == "newton_schulz":
        norm = np.linalg.norm(values)
        values = [_iterate(value, norm, 9)[0] for value in values]
    elif kind == "ns2":
        for _ in range(2):
            norm = np.linalg.norm(values)
            values = [_iterate(value, norm, 7)[0] for value in values]
    return vectors @ np.diag(values) @ vectors.T


class ClosedFormPredictorTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_flag_names_every_closed_form(self):
        self.assertCountEqual(PREDICTORS, ("mlp", *CLOSED_FORMS))

    def test_covariances_match_plain_loops(self):
        projections, targets = unit(3, 5, 4), unit(3, 5, 4, seed=1)
        self.assertAllClose(covariance(tf.constant(projections)), _covariance_by_loops(projections), rtol=1e-12)
        found = covariance_of_pairs(tf.constant(projections), tf.constant(targets))
        self.assertAllClose(found, _covariance_by_loops(projections, targets), rtol=1e-12)
        self.assertAllClose(np.trace(_covariance_by_loops(projections)) / 4, 1.0)

    @parameterized.parameters(sorted(set(CLOSED_FORMS) - {"visser"}))
    def test_the_matrix_is_that_of_the_ridged_moving_average(self, kind):
        layer = ClosedFormPredictor(kind, 5, ridge=0.7, decay=0.8, dtype="float64")
        average = np.eye(5)
        for seed in range(3):
            new = _covariance_by_loops(unit(2, 4, 5, seed=seed), unit(2, 4, 5, seed=9) if kind == "stiefel" else None)
            average = 0.8 * average + 0.2 * new
            found = layer.fit(tf.constant(new))
            self.assertAllClose(layer.covariance, average, rtol=1e-12)
            self.assertAllClose(found, _expected(kind, average + 0.7 * np.eye(5)), rtol=1e-9)

    @parameterized.parameters("newton_schulz", "ns2", "stiefel")
    def test_small_eigenvalues_stop_after_the_published_number_of_iterations(self, kind):
        basis = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
        matrix = basis @ np.diag([100.0, 1.0, 1e-4]) @ basis.T
        found = ClosedFormPredictor(kind, 3, ridge=0.0, decay=0.0, dtype="float64").fit(tf.constant(matrix))
        self.assertAllClose(found, _expected(kind, matrix), rtol=1e-6)

    def test_visser_takes_a_step_per_call_from_the_identity_and_reaches_the_root(self):
        layer = ClosedFormPredictor("visser", 3, ridge=0.6, decay=0.0, dtype="float64")
        new = _covariance_by_loops(unit(2, 4, 3))
        goal, root = new + 0.6 * np.eye(3), np.eye(3)  # I/(2η) for η = ½
        goal /= np.linalg.norm(goal)
        for _ in range(4):
            root = root + 0.5 * (goal - root @ root)
            self.assertAllClose(layer.fit(tf.constant(new)), root, rtol=1e-12)
        for _ in range(60):
            found = layer.fit(tf.constant(new))
        values, vectors = np.linalg.eigh(goal)
        self.assertAllClose(found, vectors @ np.diag(np.sqrt(values)) @ vectors.T, rtol=1e-9)

    def test_a_diagonal_covariance_has_closed_forms(self):
        # Σ + 0.5·I of eigenvalues 4, 1 and 0.25: copied, and roots 2, 1, 0.5; fourth roots √2, 1, √½.
        new = tf.constant(np.diag([3.5, 0.5, -0.25]))
        for kind, expected in (
            ("direct_copy", [4, 1, 0.25]),
            ("direct_pred", [2, 1, 0.5]),
            ("newton_schulz", [2, 1, 0.5]),
            ("ns2", [2**0.5, 1, 0.5**0.5]),
            ("stiefel", [1, 1, 1]),
        ):
            found = ClosedFormPredictor(kind, 3, ridge=0.5, decay=0.0, dtype="float64").fit(new)
            self.assertAllClose(found, np.diag(expected), rtol=5e-3, atol=1e-12, msg=kind)

    def test_the_matrix_of_stiefel_is_nearly_orthogonal_and_nearest(self):
        matrix = np.eye(6) + 0.3 * np.random.default_rng(0).normal(size=(6, 6))
        found = ClosedFormPredictor("stiefel", 6, ridge=0.0, decay=0.0, dtype="float64").fit(tf.constant(matrix))
        left, _, right = np.linalg.svd(matrix)
        self.assertAllClose(found, left @ right, atol=5e-3)

    @parameterized.parameters(*CLOSED_FORMS)
    def test_no_gradient_passes_and_collapsed_projections_stay_finite(self, kind):
        projections = tf.constant(np.tile(unit(16), (2, 8, 1)), tf.float32)  # all in one direction
        layer = ClosedFormPredictor(kind, 16, ridge=0.6, decay=0.5)
        with tf.GradientTape() as tape:
            tape.watch(projections)
            for _ in range(5):
                found = layer.fit(covariance(projections))
        self.assertAllEqual(tf.math.is_finite(found), np.ones([16, 16], bool))
        self.assertIsNone(tape.gradient(found, projections))

    def test_an_update_needs_no_call_across_replicas(self):
        # merge_call, by which TensorFlow aggregates, fails in a step that XLA compiles for several GPUs.
        strategy = testing.two_replicas()
        with strategy.scope():
            layer = ClosedFormPredictor("visser", 3, ridge=0.6, decay=0.5)
        with mock.patch.object(tf.distribute.ReplicaContext, "merge_call", side_effect=AssertionError):
            strategy.run(tf.function(lambda: layer.fit(tf.linalg.diag([1.0, 2.0, 0.0]))))
        for copy in strategy.experimental_local_results(layer.covariance):
            self.assertAllClose(copy, np.diag([1.0, 1.5, 0.5]))

    def test_a_layer_is_made_again_from_its_configuration(self):
        layer = ClosedFormPredictor("visser", 3, ridge=0.6, decay=0.5, name="closed_form")
        again = ClosedFormPredictor.from_config(layer.get_config())
        self.assertEqual(again.get_config(), layer.get_config())
        self.assertEqual([v.shape for v in again.variables], [v.shape for v in layer.variables])


if __name__ == "__main__":
    tf.test.main()
