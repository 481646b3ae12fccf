"""Tests of semppl.evaluation.report_page.choice."""

import numpy as np
from absl.testing import absltest, parameterized

from semppl.evaluation.report_page import choice


class ChoiceTest(parameterized.TestCase):
    def test_the_nearest_rows_are_those_of_plain_loops(self):
        rng = np.random.default_rng(0)
        queries, memory = rng.standard_normal((6, 3)), rng.standard_normal((9, 3))
        for query, rows in zip(queries, choice.nearest_rows(queries, memory, 4), strict=True):
            cosines = [query @ entry / np.linalg.norm(query) / np.linalg.norm(entry) for entry in memory]
            self.assertEqual(rows.tolist(), sorted(range(9), key=lambda row: -cosines[row])[:4])

    def test_suspicious_labels_are_those_that_other_pictures_contradict(self):
        rows = np.repeat(np.eye(3), [8, 8, 8], axis=0) + np.random.default_rng(0).normal(0, 0.05, (24, 3))
        labels = np.repeat([0, 1, 4], 8)
        labels[[2, 9]] = 4, 0
        found = choice.suspicious(rows, labels)
        self.assertCountEqual(zip(found.rows, found.classes, strict=True), [(2, 0), (9, 1)])
        self.assertLess(found.margins.max(), 0.5)

    def test_equal_pictures_never_vote_on_themselves(self):
        found = choice.suspicious(np.ones([8, 2]), np.array([0, 1, 1, 1, 1, 1, 1, 1]))
        self.assertEqual((found.rows.tolist(), found.classes.tolist()), ([0], [1]))

    def test_a_tie_of_the_vote_is_not_suspicious(self):
        # Of the others, two have label 0 and two have label 1 where the label is 0; three and one where it is 1.
        found = choice.suspicious(np.ones([5, 2]), np.array([0, 0, 0, 1, 1]))
        self.assertEqual(found.rows.tolist(), [3, 4])

    def test_no_label_of_one_class_is_suspicious(self):
        for part in choice.suspicious(np.eye(3), np.ones(3, int)):
            self.assertEmpty(part)

    def test_without_queries_there_are_no_neighbours(self):
        self.assertEqual(choice.nearest_rows(np.zeros([0, 3]), np.eye(3), 2).shape, (0, 0))

    def test_the_hardest_come_first_and_unknown_ones_are_left_out(self):
        self.assertEqual(choice.hardest(np.array([0.5, np.nan, 0.1, 0.9])).tolist(), [2, 0, 3])

    @parameterized.parameters(
        ([0] * 4 + [1] * 4, 4, [0, 3, 4, 7]),  # as many wrong as right ones
        ([0] * 1 + [1] * 7, 4, [0, 1, 4, 7]),  # one is wrong
        ([0] * 7 + [1] * 1, 4, [0, 3, 6, 7]),  # one is right
        ([-1] * 8, 3, [0, 3, 7]),  # nothing is known
    )
    def test_wrong_and_right_queries_are_chosen(self, labels, count, expected):
        self.assertEqual(choice.queries(np.array(labels), np.ones(8, int), count).tolist(), expected)


if __name__ == "__main__":
    absltest.main()
