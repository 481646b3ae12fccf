"""Tests of data/views."""
