"""Tests of layers/blocks."""
