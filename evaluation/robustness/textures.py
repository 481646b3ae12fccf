"""Random textures: a plasma fractal for fog, and crystals of frost."""

import numpy as np
from scipy import ndimage


def plasma(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Draws a plasma fractal by the diamond-square algorithm on a torus.

    Args:
        side: Minimum side in pixels; the next power of two is taken.
        decay: Factor by which each finer level is less rough.
        rng: Generator.

    Returns:
        `[n, n]` heights in 0..1.
    """
    size = 1 << max(side - 1, 0).bit_length()
    heights = np.zeros((size, size))
    rough, step = 100.0, size
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        sums = corners + np.roll(corners, -1, 0)
        sums = sums + np.roll(sums, -1, 1)
        heights[half::step, half::step] = _wobbled(sums, rough, rng)
        centres = heights[half::step, half::step]
        above = centres + np.roll(centres, 1, 0) + corners + np.roll(corners, -1, 1)
        heights[::step, half::step] = _wobbled(above, rough, rng)
        beside = centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 0)
        heights[half::step, ::step] = _wobbled(beside, rough, rng)
        step, rough = half, rough / decay
    heights -= heights.min()
    return heights / max(heights.max(), np.finfo(float).tiny)


def frost_crystals(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draws bluish needles on a rough ground, in place of the photographs of frost that ImageNet-C uses.

    Returns:
        `[height, width, 3]` in 0..1.
    """
    ground = plasma(max(height, width), 1.6, rng)[:height, :width]
    needles = np.zeros((height, width))
    for degrees in rng.uniform(0, 180, size=6):
        seeds = (rng.uniform(size=(height, width)) > 0.985).astype(np.float64)
        needles = np.maximum(needles, _streaks(seeds, degrees, length=max(min(height, width) // 8, 3)))
    needles /= max(needles.max(), np.finfo(float).tiny)
    light = np.clip(0.35 * ground + 0.8 * np.sqrt(needles), 0, 1)
    return light[..., np.newaxis] * np.array([0.82, 0.92, 1.0])


def _wobbled(sums: np.ndarray, rough: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the mean of four heights, of which `sums` are the sums, with noise."""
    return sums / 4 + rough * rng.uniform(-rough, rough, sums.shape)


def _streaks(seeds: np.ndarray, degrees: float, *, length: int) -> np.ndarray:
    """Draws a fading line from each seed `[H, W]` in one direction."""
    down, right = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    total = np.zeros(seeds.shape)
    for step in range(length):
        total = np.maximum(total, (1 - step / length) * ndimage.shift(seeds, (step * down, step * right), order=1))
    return total
