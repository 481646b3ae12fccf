"""Tests of semppl.export.collections."""
