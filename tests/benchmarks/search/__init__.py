"""Tests of semppl.benchmarks.search."""
