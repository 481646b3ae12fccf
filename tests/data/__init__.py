"""Tests of semppl.data."""
