"""Tests of semppl.benchmarks.small_budget."""
