"""Benchmarks of searches among vectors."""
