"""Tests of semppl.evaluation."""
