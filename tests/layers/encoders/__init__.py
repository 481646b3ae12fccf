"""Tests of layers/encoders."""
