"""Embedding of many pictures: one worker, and the engines that run it here or on a cluster."""
