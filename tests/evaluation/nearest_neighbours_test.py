"""Tests of semppl.evaluation.neighbours.nearest_neighbours."""

import math

import numpy as np
from absl.testing import absltest, parameterized
from sklearn import neighbors

from semppl.evaluation.neighbours.nearest_neighbours import (
    choose_neighbours,
    nearest,
    nearest_neighbour_classes,
    weighted_neighbour_shares,
)


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


class NearestTest(parameterized.TestCase):
    @parameterized.product(k=(1, 7, 60, 500), chunk=(7, 1024), block=(1, 31, 33, 100, 4096))
    def test_any_division_finds_the_same_as_a_full_sort(self, k, chunk, block):
        rng = np.random.default_rng(k)
        queries, memory = rng.standard_normal((20, 8)), rng.standard_normal((500, 8))
        memory[::3] = memory[0]  # of equal entries, the smaller position comes first
        similarities, positions = nearest(queries, memory, k, chunk=chunk, block=block)
        unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, memory)]
        full = np.round(unit[0] @ unit[1].T, 12)
        order = np.argsort(-full, axis=1, kind="stable")[:, :k]
        np.testing.assert_allclose(similarities, np.take_along_axis(full, order, 1), atol=1e-11)
        distinct = np.arange(500) % 3 != 0
        self.assertTrue(np.array_equal(positions[distinct[order]], order[distinct[order]]))

    @parameterized.parameters(1, 64, 1024)
    def test_of_equal_entries_the_smaller_position_comes_first(self, block):
        memory = np.ones((200, 2), np.float32)
        memory[100:] = [1, 0]
        _, positions = nearest(np.array([[1, 1], [1, 0]], np.float32), memory, 3, block=block)
        self.assertEqual(positions.tolist(), [[0, 1, 2], [100, 101, 102]])

    def test_entries_in_rising_order_are_found_too(self):
        angles = np.linspace(1.5, 0, 3000)  # each block has nearer entries than the one before
        memory = np.stack([np.cos(angles), np.sin(angles)], 1)
        _, positions = nearest(np.array([[1.0, 0.0]]), memory, 50, block=64)
        self.assertEqual(positions[0].tolist(), list(range(2999, 2949, -1)))

    def test_scikit_learn_finds_the_same(self):
        rng = np.random.default_rng(0)
        queries, memory = rng.standard_normal((30, 16)), rng.standard_normal((2000, 16))
        model = neighbors.NearestNeighbors(n_neighbors=20, metric="cosine", algorithm="brute").fit(memory)
        distances, expected = model.kneighbors(queries)
        similarities, positions = nearest(queries, memory, 20)
        np.testing.assert_allclose(similarities, 1 - distances, atol=1e-6)
        self.assertTrue(np.array_equal(positions, expected))

    def test_not_a_number_is_refused(self):
        good, bad = np.ones((2, 3)), np.array([[1, 2, np.nan]])
        for queries, memory, name in ((bad, good, "queries"), (good, bad, "memory")):
            with self.assertRaisesRegex(
                ValueError, f"`{name}` must be finite. Received: embeddings containing NaN or Inf"
            ):
                nearest(queries, memory, 1)


class WeightedTest(parameterized.TestCase):
    @parameterized.parameters(1, 5, 40)
    def test_shares_match_plain_loops(self, k):
        rng = np.random.default_rng(k)
        queries, memory, labels = rng.standard_normal((9, 4)), rng.standard_normal((40, 4)), rng.integers(0, 3, 40) * 2
        shares, classes = weighted_neighbour_shares(queries, memory, labels, k=k)
        self.assertEqual(classes.tolist(), [0, 2, 4])
        for query, share in zip(queries, shares, strict=True):
            cosines = [float(query @ e / np.linalg.norm(query) / np.linalg.norm(e)) for e in memory]
            near = sorted(range(40), key=lambda entry: -cosines[entry])[:k]
            weights = [sum(math.exp(cosines[e] / 0.1) for e in near if labels[e] == name) for name in (0, 2, 4)]
            np.testing.assert_allclose(share, np.array(weights) / sum(weights), atol=1e-9)

    def test_scikit_learn_votes_alike(self):
        rng = np.random.default_rng(3)
        queries, memory, labels = rng.standard_normal((50, 6)), rng.standard_normal((300, 6)), rng.integers(0, 5, 300)
        model = neighbors.KNeighborsClassifier(
            20, metric="cosine", algorithm="brute", weights=lambda distances: np.exp((1 - distances) / 0.1)
        )
        expected = model.fit(memory, labels).predict_proba(queries)
        np.testing.assert_allclose(weighted_neighbour_shares(queries, memory, labels, k=20)[0], expected, atol=1e-6)

    def test_the_number_of_neighbours_is_that_which_classifies_the_memory_best(self):
        # Pairs of one point each, of two labels: its twin errs, and the twenty others of a cluster, of one label mostly, do not.
        rng = np.random.default_rng(0)
        memory = np.repeat(np.array([[1.0, 0.3], [0.3, 1.0]]), 40, 0) + 0.3 * rng.standard_normal((80, 2))
        labels = np.repeat([3, 5], 40)
        labels[rng.permutation(80)[:16]] ^= 6  # 3 and 5 are exchanged
        hits = {}
        for k in (1, 5, 10, 20, 50):
            hits[k] = 0
            for row in range(80):
                others = np.arange(80) != row
                shares, classes = weighted_neighbour_shares(memory[row : row + 1], memory[others], labels[others], k=k)
                hits[k] += classes[shares[0].argmax()] == labels[row]
        chosen = choose_neighbours(memory, labels)
        self.assertEqual(chosen, max(hits, key=hits.get))
        self.assertGreater(hits[chosen], hits[1])

    def test_few_or_equal_entries_have_a_number_of_neighbours(self):
        self.assertEqual(choose_neighbours(np.ones((1, 2)), np.array([4])), 1)
        self.assertEqual(choose_neighbours(np.eye(2), np.array([0, 1])), 1)
        self.assertEqual(choose_neighbours(np.ones((300, 2)), np.zeros(300, int)), 1)


if __name__ == "__main__":
    absltest.main()
