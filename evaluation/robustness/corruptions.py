"""The corruptions of ImageNet-C, by name, at five severities."""

import zlib
from collections.abc import Callable

import numpy as np

from semppl.evaluation.robustness import blur, digital, noise, weather

SEVERITIES = (1, 2, 3, 4, 5)

Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]

CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}
"""The fifteen over which mean corruption errors are taken."""

EXTRA_CORRUPTIONS: dict[str, Corruption] = {
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}
"""The four with which ImageNet-C lets settings be chosen."""


def corrupt(image: np.ndarray, name: str, severity: int, *, position: int = 0, seed: int = 0) -> np.ndarray:
    """Corrupts an image; the same arguments always give the same image.

    Args:
        image: `[H, W, C]` uint8, of one or three channels.
        name: Key of `CORRUPTIONS` or `EXTRA_CORRUPTIONS`.
        severity: One of `SEVERITIES`.
        position: Number of the image in its set, which decides the random draws together with the other arguments; 0 or more.
        seed: Seed, 0 or more.

    Returns:
        `[H, W, C]` uint8; fractions are cut off, as in ImageNet-C.

    Raises:
        ValueError: If an argument is not allowed.
    """
    functions = CORRUPTIONS | EXTRA_CORRUPTIONS
    if name not in functions:
        raise ValueError(f"`name` must be one of {', '.join(functions)}. Received: {name}")
    if severity not in SEVERITIES:
        raise ValueError(f"`severity` must be in 1..5. Received: {severity}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"`image` must be [H, W, 1 or 3] uint8. Received: {list(image.shape)} {image.dtype}")
    rng = np.random.default_rng((seed, position, severity, zlib.crc32(name.encode())))
    return np.floor(255 * functions[name](image / 255, severity, rng) + _ROUNDING).astype(np.uint8)


_ROUNDING = 1e-9  # so that 3/255, times 255, is 3
