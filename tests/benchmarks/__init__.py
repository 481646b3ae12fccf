"""Tests of semppl.benchmarks."""
