"""Tests of semppl.evaluation.neighbours.old_index."""

import numpy as np
from absl.testing import absltest

from semppl.evaluation.neighbours.old_index import Embedded, old_index_accuracies, old_index_lines

TRUTH = np.array([0, 1, 0, 1])


class OldIndexTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        memory, queries = np.eye(2), np.eye(2)[TRUTH]
        queries[3] = [1, 0.5]  # the old network errs once
        self.old = Embedded(memory, queries)

    def _new(self, first):
        """Embeds without an error along a third axis that only the new network has."""
        rows = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
        memory, queries = rows.copy(), rows[TRUTH]
        queries[:, :2] = 1e-3 * first
        return Embedded(memory, queries)

    def test_new_queries_are_compared_with_old_entries_by_their_first_dimensions(self):
        measured = old_index_accuracies(self.old, self._new(np.eye(2)[[0, 0, 0, 1]]), np.arange(2), TRUTH, k=1)
        self.assertEqual(
            measured,
            {"old queries, old index": 0.75, "new queries, old index": 0.75, "new queries, new index": 1.0},
        )
        swapped = old_index_accuracies(self.old, self._new(np.eye(2)[1 - TRUTH]), np.arange(2), TRUTH, k=1)
        self.assertEqual(swapped["new queries, old index"], 0.0)

    def test_more_neighbours_than_entries_are_all_entries(self):
        self.assertLen(old_index_accuracies(self.old, self.old, np.arange(2), TRUTH, k=9), 3)

    def test_every_row_is_a_line(self):
        lines = old_index_lines({"old queries, old index": 0.5, "new queries, old index": 0.25})
        self.assertEqual(lines[1:], ["  old queries, old index  0.5000", "  new queries, old index  0.2500"])


if __name__ == "__main__":
    absltest.main()
