"""Tests of semppl.benchmarks.comparisons."""
