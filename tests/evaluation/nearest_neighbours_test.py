"""Tests of semppl.evaluation.nearest_neighbours."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from semppl.evaluation.nearest_neighbours import nearest_neighbour_classes


def _oracle(queries, memory, labels, k):
    """Votes in plain loops; ties go to the larger summed similarity, then to the smaller label."""
    classes = []
    for query in queries:
        similarities = []
        for position, entry in enumerate(memory):
            dot = sum(float(q) * float(m) for q, m in zip(query, entry, strict=True))
            lengths = math.sqrt(sum(float(q) ** 2 for q in query)) * math.sqrt(sum(float(m) ** 2 for m in entry))
            similarities.append((-dot / lengths, position))
        votes, sums = {}, {}
        for minus_similarity, position in sorted(similarities)[:k]:
            label = int(labels[position])
            votes[label] = votes.get(label, 0) + 1
            sums[label] = sums.get(label, 0.0) - minus_similarity
        classes.append(min(votes, key=lambda label: (-votes[label], -sums[label], label)))
    return classes


class NearestNeighboursTest(parameterized.TestCase):
    @parameterized.product(k=(1, 2, 3, 7, 40), chunk=(1, 5, 1024))
    def test_it_is_the_vote_in_plain_loops(self, k, chunk):
        rng = np.random.default_rng(k)
        queries = rng.standard_normal((23, 6)) * rng.uniform(0.1, 10, (23, 1))
        memory = rng.standard_normal((40, 6)) * rng.uniform(0.1, 10, (40, 1))
        labels = rng.integers(0, 5, 40)
        classes = nearest_neighbour_classes(queries, memory, labels, k=k, chunk=chunk)
        self.assertEqual(classes.tolist(), _oracle(queries, memory, labels, k))

    def test_lengths_do_not_matter(self):
        memory, labels = np.array([[100.0, 0], [0, 0.01]], np.float32), np.array([4, 2])
        queries = np.array([[0.01, 0.02], [3, 2]], np.float32)
        self.assertEqual(nearest_neighbour_classes(queries, memory, labels, k=1).tolist(), [2, 4])

    def test_a_tie_goes_to_the_larger_summed_similarity(self):
        memory = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [0.9, math.sqrt(1 - 0.81)]])
        # One each for 0 (cosine 1), two each for 1 (0.6 + 0.8 = 1.4) and 2 (0.9 + 0.8 = 1.7) …
        labels = np.array([0, 1, 1, 2])
        memory, labels = np.concatenate([memory, memory[2:3]]), np.append(labels, 2)
        self.assertEqual(nearest_neighbour_classes(np.array([[1.0, 0]]), memory, labels, k=5).tolist(), [2])

    def test_a_full_tie_goes_to_the_smaller_label(self):
        memory = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
        self.assertEqual(
            nearest_neighbour_classes(np.array([[2.0, 0]], np.float32), memory, np.array([7, 3, 1]), k=2).tolist(), [3]
        )

    def test_more_votes_win_over_nearer_ones(self):
        memory = np.array([[1, 0], [0.1, 1], [0.2, 1]])
        self.assertEqual(
            nearest_neighbour_classes(np.array([[1.0, 0]]), memory, np.array([0, 1, 1]), k=3).tolist(), [1]
        )

    def test_an_empty_vector_is_classified_all_the_same(self):
        memory = np.array([[1, 0], [0, 1]], np.float32)
        classes = nearest_neighbour_classes(np.zeros((1, 2), np.float32), memory, np.array([5, 4]), k=1)
        self.assertIn(classes.tolist(), ([4], [5]))

    @parameterized.parameters(0, -1, 4)
    def test_k_must_be_in_range(self, k):
        with self.assertRaisesRegex(ValueError, rf"^`k` must be in 1\.\.3, the size of the memory\. Received: {k}$"):
            nearest_neighbour_classes(np.ones((2, 2)), np.ones((3, 2)), np.zeros(3, np.int32), k=k)


if __name__ == "__main__":
    absltest.main()
