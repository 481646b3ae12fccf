"""Tests of semppl.export."""
