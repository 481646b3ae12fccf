"""Robustness to the corruptions of ImageNet-C: the corruptions, the errors under them, and mean corruption errors."""
