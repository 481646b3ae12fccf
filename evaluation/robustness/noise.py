"""The noises of ImageNet-C.

Each function maps an image `[H, W, C]` in 0..1 and a severity in 1..5 to a noisy image in 0..1, and draws from a generator.

Reference: Hendrycks & Dietterich 2019, arXiv 1903.12261, and their published parameters.
"""

import numpy as np


def gaussian_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Adds normally distributed noise."""
    stddev = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return np.clip(image + rng.normal(size=image.shape, scale=stddev), 0, 1)


def shot_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Draws each value from a Poisson distribution, as a count of photons."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return np.clip(rng.poisson(image * photons) / photons, 0, 1)


def impulse_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Replaces values by 0 or 1, each as likely as the other."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    drawn = rng.uniform(size=image.shape)
    return np.where(drawn < share / 2, 0.0, np.where(drawn < share, 1.0, image))


def speckle_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Adds normally distributed noise in proportion to the value."""
    stddev = (0.15, 0.2, 0.35, 0.45, 0.6)[severity - 1]
    return np.clip(image + image * rng.normal(size=image.shape, scale=stddev), 0, 1)
