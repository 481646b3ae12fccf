"""Tests of whole runs: from flags to weights, evaluation and export."""
