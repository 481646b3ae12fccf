"""Tests of semppl.evaluation.report_page.embedding_map."""

import re

import numpy as np
from absl.testing import absltest
from sklearn.decomposition import PCA

from semppl.evaluation.report_page import embedding_map
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)
from semppl.tests.evaluation.report_page.known_run import judged_run


class EmbeddingMapTest(absltest.TestCase):
    def test_the_plane_is_that_of_scikit_learn(self):
        rows = np.random.default_rng(0).standard_normal((20, 5)) * [3, 2, 1, 1, 1]
        points, share = embedding_map.principal_plane(rows)
        model = PCA(2).fit(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        expected = model.transform(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-10)
        self.assertAlmostEqual(share, model.explained_variance_ratio_.sum(), delta=1e-10)
        self.assertTrue((points.max(0) >= -points.min(0)).all())

    def test_one_point_and_equal_points_are_at_one_place(self):
        for count in (1, 3):
            points, share = embedding_map.principal_plane(np.ones([count, 4]))
            np.testing.assert_allclose(points, 0, atol=1e-12)
            self.assertTrue(0 <= share <= 1)

    def test_a_large_run_is_sampled_and_the_page_says_so(self):
        truth = np.arange(3000) % 3
        judged = judged_run(
            "run", truth=truth, classes=truth, confidence=np.full(3000, 0.9), class_names=("a", "b", "c")
        )
        page = embedding_map.embedding_map(judged)
        self.assertLen(re.findall("<circle", page), 1100)
        self.assertLen(re.findall("<rect", page), 3)
        self.assertIn("1100 of 3000 judged", page)

    def test_wrong_predictions_are_outlined(self):
        judged = judged_run("run", truth=[0, 1, 1], classes=[0, 0, 1], confidence=[0.9] * 3, class_names=("a", "b"))
        self.assertLen(re.findall('<circle class="wrong"', embedding_map.embedding_map(judged)), 1)

    def test_classes_have_colours_of_their_own(self):
        for count in (10, 200):
            self.assertLen({embedding_map.colour(label, count) for label in range(count)}, count)


if __name__ == "__main__":
    absltest.main()
