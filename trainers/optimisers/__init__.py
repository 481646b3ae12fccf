"""Optimisers, by name, and schedules."""
