"""Tests of semppl.layers."""
