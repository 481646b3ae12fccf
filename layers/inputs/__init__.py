"""Preparation of images without randomness, for evaluation and serving."""
