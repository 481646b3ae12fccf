"""Examines data before a run."""
