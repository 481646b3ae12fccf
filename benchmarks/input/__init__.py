"""Benchmarks of the input: picture files decoded, views made."""
