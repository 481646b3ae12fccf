"""Checkpoints of other projects, read into our networks."""
