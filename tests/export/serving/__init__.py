"""Tests of semppl.export.serving."""
