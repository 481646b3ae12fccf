"""Layers and operations of the networks: encoders, heads, queue, vote, sampling."""
