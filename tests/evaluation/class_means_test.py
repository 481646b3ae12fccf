"""Tests of semppl.evaluation.neighbours.class_means."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from semppl.evaluation.neighbours.class_means import class_mean_classes, class_means


def _direction(row):
    length = math.sqrt(sum(float(value) ** 2 for value in row))
    return [float(value) / length for value in row]


def _oracle(queries, features, labels):
    """Compares each query with the mean of each class's unit-norm features, in plain loops."""
    classes = []
    for query in queries:
        similarities = {}
        for name in sorted(set(labels.tolist())):
            members = [_direction(row) for row, label in zip(features, labels, strict=True) if label == name]
            mean = [sum(column) / len(members) for column in zip(*members, strict=True)]
            similarities[name] = sum(a * b for a, b in zip(_direction(query), _direction(mean), strict=True))
        classes.append(max(similarities, key=similarities.get))
    return classes


class ClassMeansTest(parameterized.TestCase):
    @parameterized.parameters(range(5))
    def test_it_is_the_nearest_mean_in_plain_loops(self, seed):
        rng = np.random.default_rng(seed)
        labels = np.concatenate([np.arange(5), rng.integers(0, 5, 20)]) * 3 + 1
        features = rng.standard_normal((25, 4)) * rng.uniform(0.1, 10, (25, 1))
        queries = rng.standard_normal((60, 4)) * rng.uniform(0.1, 10, (60, 1))
        self.assertEqual(class_mean_classes(queries, features, labels).tolist(), _oracle(queries, features, labels))

    def test_means_are_of_directions_and_directions_themselves(self):
        # Directions (1, 0) and (0, 1) of class 2: mean (½, ½), direction (1, 1)/√2.
        means, classes = class_means(np.array([[9.0, 0], [0, 0.1], [0, 3]]), np.array([2, 2, 7]))
        np.testing.assert_allclose(means, [[math.sqrt(0.5), math.sqrt(0.5)], [0, 1]], atol=1e-12)
        self.assertEqual(classes.tolist(), [2, 7])

    def test_a_tie_goes_to_the_smaller_class(self):
        classes = class_mean_classes(np.array([[1.0, 1]]), np.array([[0.0, 2], [2, 0]]), np.array([9, 4]))
        self.assertEqual(classes.tolist(), [4])

    def test_empty_rows_are_no_division_by_zero(self):
        with np.errstate(all="raise"):
            classes = class_mean_classes(np.zeros((1, 2)), np.array([[0.0, 0], [1, -1], [-1, 1]]), np.array([5, 6, 6]))
        self.assertEqual(classes.tolist(), [5])


if __name__ == "__main__":
    absltest.main()
