"""Tests of semppl.trainers.reports.distributions."""

import numpy as np
from absl.testing import absltest

from semppl.trainers.reports import distributions


class DistributionsTest(absltest.TestCase):
    def test_similarities_are_split_as_in_plain_loops(self):
        rng = np.random.default_rng(0)
        similarities, truth, labels = rng.uniform(-1, 1, (9, 6)), np.arange(9) % 4, np.array([0, 0, 1, 1, 2, 2])
        found = distributions.split_similarities(similarities, truth, labels)
        own, another = [], []
        for row, label in zip(similarities, truth, strict=True):
            if label in labels:  # no labelled image is of class 3
                own.append(max(value for value, other in zip(row, labels, strict=True) if other == label))
            another.append(max(value for value, other in zip(row, labels, strict=True) if other != label))
        np.testing.assert_allclose(found["of_own_class"], own)
        np.testing.assert_allclose(found["of_another_class"], another)

    def test_confusions_leave_out_unknown_classes_and_missing_pseudo_labels(self):
        counts = distributions.pseudo_label_confusion(np.array([0, 1, 1, -1, 2]), np.array([0, 0, 0, 1, -1]), 3)
        self.assertEqual(counts.tolist(), [[1, 2, 0], [0, 0, 0], [0, 0, 0]])
        self.assertIsNone(distributions.pseudo_label_confusion(np.array([0, -1]), np.array([-1, 1]), 3))

    def test_an_image_has_shares_of_rows_and_is_large_enough_to_see(self):
        image = distributions.confusion_image(np.array([[3, 1, 0], [0, 0, 0], [0, 2, 2]]))
        self.assertEqual(image.shape, (258, 258, 1))
        np.testing.assert_allclose(image[40::86, 40::86, 0], [[0.75, 0.25, 0], [0, 0, 0], [0, 0.5, 0.5]])


if __name__ == "__main__":
    absltest.main()
