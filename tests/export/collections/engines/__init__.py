"""Tests of semppl.export.collections.engines."""
