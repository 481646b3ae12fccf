"""The blurs of ImageNet-C, with lengths in pixels.

Each function maps an image `[H, W, C]` in 0..1 and a severity in 1..5 to a blurred image in 0..1; some draw from a generator.

Reference: Hendrycks & Dietterich 2019, arXiv 1903.12261, and their published parameters.
"""

import math

import numpy as np
from scipy import ndimage


def gaussian_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Convolves with a Gaussian."""
    del rng
    return smoothed(image, (1, 2, 3, 4, 6)[severity - 1])


def defocus_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Convolves with a disk whose edge is smoothed."""
    del rng
    radius, edge = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]
    kernel = disk(radius, edge)
    return np.clip(np.stack([ndimage.correlate(part, kernel, mode="mirror") for part in channels(image)], -1), 0, 1)


def glass_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Smooths, replaces pixels by neighbours at random, from the last pixel to the first, and smooths again.

    The paper swaps pixels; the published code, and so ImageNet-C, copies them.
    """
    stddev, reach, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[severity - 1]
    pixels = np.floor(255 * smoothed(image, stddev)) / 255
    height, width = pixels.shape[:2]
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    here = rows[:, np.newaxis] * width + columns
    moves = rng.integers(-reach, reach, size=(rounds, *here.shape, 2)) @ np.array([width, 1])
    order = list(range(height * width))
    for first, second in zip(
        np.broadcast_to(here, moves.shape).ravel().tolist(), (here + moves).ravel().tolist(), strict=True
    ):
        order[first] = order[second]
    return smoothed(pixels.reshape(height * width, -1)[order].reshape(pixels.shape), stddev)


def motion_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Averages along a direction within 45° of the horizontal."""
    radius, stddev = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    return np.clip(moved(image, radius=radius, stddev=stddev, degrees=rng.uniform(-45, 45)), 0, 1)


def zoom_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Averages the image with enlargements of its centre."""
    del rng
    largest, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[severity - 1]
    factors = np.arange(1, largest, step)
    total = image + sum(enlarged(image, factor) for factor in factors)
    return np.clip(total / (len(factors) + 1), 0, 1)


def smoothed(image: np.ndarray, stddev: float) -> np.ndarray:
    """Convolves each channel of an image `[H, W, C]` with a Gaussian of four standard deviations; edges are repeated."""
    return np.stack([ndimage.gaussian_filter(part, stddev, mode="nearest", truncate=4) for part in channels(image)], -1)


def channels(image: np.ndarray) -> np.ndarray:
    """Returns the channels `[C, H, W]` of an image `[H, W, C]`."""
    return np.moveaxis(image, -1, 0)


def disk(radius: int, edge: float) -> np.ndarray:
    """Returns a disk `[n, n]`, n odd, that adds up to 1, and is then smoothed by a small Gaussian of standard deviation `edge`.

    A disk that fills its square loses a hundredth by smoothing, as in the published code.
    """
    side, taps = (8, 1) if radius <= 8 else (radius, 2)
    across = np.square(np.arange(-side, side + 1))
    inside = (across[:, np.newaxis] + across <= radius**2).astype(np.float64)
    inside /= inside.sum()
    weights = np.exp(-np.square(np.arange(-taps, taps + 1)) / (2 * edge**2))
    for axis in (0, 1):
        inside = ndimage.correlate1d(inside, weights / weights.sum(), axis=axis, mode="mirror")
    return inside


def moved(image: np.ndarray, *, radius: int, stddev: float, degrees: float) -> np.ndarray:
    """Averages copies of an image `[H, W, C]` that are moved step by step in one direction; edges are repeated.

    Reference: the motion blur of ImageMagick: half a Gaussian of 2 · radius + 1 steps of one pixel.
    """
    weights = np.exp(-np.square(np.arange(2 * radius + 1)) / (2 * stddev**2))
    direction = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    height, width = image.shape[:2]
    total = np.zeros(image.shape)
    for step, weight in enumerate(weights / weights.sum()):
        down, right = (math.ceil(step * part - 0.5) for part in direction)
        if abs(down) >= height or abs(right) >= width:
            break
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        total += weight * image[rows][:, columns]
    return total


def enlarged(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarges the centre of an image `[H, W, C]` by linear interpolation, to the image's size."""
    height, width = image.shape[:2]
    sizes = [math.ceil(side / factor) for side in (height, width)]
    top, left = ((side - size) // 2 for side, size in zip((height, width), sizes, strict=True))
    centre = image[top : top + sizes[0], left : left + sizes[1]]
    large = ndimage.zoom(centre, (factor, factor, 1), order=1)
    top, left = ((large.shape[axis] - image.shape[axis]) // 2 for axis in (0, 1))
    return large[top : top + height, left : left + width]
