"""Tests of semppl.benchmarks.search.exact."""

import importlib.util
import unittest

import numpy as np
from absl.testing import absltest

from semppl.benchmarks.search import exact


class ExactTest(absltest.TestCase):
    @unittest.skipUnless(importlib.util.find_spec("faiss"), "faiss is not installed")
    def test_both_searches_find_the_same(self):
        memory, queries = exact.unit_vectors(3000, 16, 0), exact.unit_vectors(50, 16, 1)
        np.testing.assert_allclose(np.linalg.norm(memory, axis=1), 1, rtol=1e-6)
        measured = exact.compare(queries, memory, 20, 2)
        self.assertGreater(measured["equal"], 0.999)  # equal but for rounding
        self.assertGreater(min(measured["ours"], measured["faiss"]), 0)
        self.assertGreaterEqual(measured["added"], 0)


if __name__ == "__main__":
    absltest.main()
