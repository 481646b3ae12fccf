"""The digital corruptions of ImageNet-C: brightness, contrast, saturation, elastic deformation, pixelation and JPEG.

Each function maps an image `[H, W, C]` in 0..1, of one or three channels, and a severity in 1..5 to an image in 0..1; elastic
deformation draws from a generator.

Reference: Hendrycks & Dietterich 2019, arXiv 1903.12261, and their published parameters.
"""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from semppl.evaluation.robustness.blur import channels

_TINY = np.finfo(float).tiny


def brightness(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Raises the value of HSV, with hue and saturation unchanged."""
    del rng
    value = image.max(-1, keepdims=True)
    brighter = np.clip(value + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1], 0, 1)
    return np.clip(np.where(value > 0, image * brighter / np.maximum(value, _TINY), brighter), 0, 1)


def contrast(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Scales the differences from each channel's mean."""
    del rng
    means = image.mean((0, 1), keepdims=True)
    return np.clip((image - means) * (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] + means, 0, 1)


def saturate(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Scales and raises the saturation of HSV; grey pixels become red where the saturation is raised. Grey images stay."""
    del rng
    if image.shape[-1] != 3:
        return image
    factor, offset = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))[severity - 1]
    value = image.max(-1, keepdims=True)
    saturation = (value - image.min(-1, keepdims=True)) / np.maximum(value, _TINY)
    new = np.clip(factor * saturation + offset, 0, 1)
    red = np.concatenate([value, value * (1 - new), value * (1 - new)], -1)
    return np.where(saturation > 0, value - (value - image) * new / np.maximum(saturation, _TINY), red)


def elastic_transform(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Moves three points at random, with everything between, and bends the image; edges are reflected.

    Lengths are those published for images of 224 pixels, in proportion to the shorter side.
    """
    strength, smoothness, reach = (
        (2, 0.7, 0.1),
        (2, 0.08, 0.2),
        (0.05, 0.01, 0.02),
        (0.07, 0.01, 0.02),
        (0.12, 0.01, 0.02),
    )[severity - 1]
    height, width = image.shape[:2]
    side = 244 / 224 * min(height, width)
    centre, third = np.array([height, width]) // 2, min(height, width) // 3
    corners = np.array([centre + third, [centre[0] + third, centre[1] - third], centre - third], np.float64)
    moved_corners = corners + rng.uniform(-reach * side, reach * side, size=corners.shape)
    back = np.linalg.solve(np.c_[moved_corners, np.ones(3)], corners)  # [3,2]: from the new place to the old
    bends = [_bend((height, width), strength * side, smoothness * side, rng) for _ in range(2)]
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    places = np.stack([rows + bends[0], columns + bends[1], np.ones((height, width))], -1) @ back
    places = np.moveaxis(places, -1, 0)
    return np.stack([ndimage.map_coordinates(part, places, order=1, mode="mirror") for part in channels(image)], -1)


def pixelate(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Shrinks by averaging, and enlarges to the old size by repeating pixels."""
    del rng
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    height, width = image.shape[:2]
    parts = []
    for part in channels(np.round(255 * image).astype(np.uint8)):
        small = Image.fromarray(part).resize(
            (max(int(width * share), 1), max(int(height * share), 1)), Image.Resampling.BOX
        )
        parts.append(np.asarray(small.resize((width, height), Image.Resampling.NEAREST)))
    return np.stack(parts, -1) / 255


def jpeg_compression(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Writes and reads a JPEG file of low quality."""
    del rng
    pixels = np.round(255 * image).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
        file, "JPEG", quality=(25, 18, 15, 10, 7)[severity - 1]
    )
    return np.asarray(Image.open(file)).reshape(pixels.shape) / 255


def _bend(shape: tuple[int, int], strength: float, smoothness: float, rng: np.random.Generator) -> np.ndarray:
    noise = rng.uniform(-1, 1, size=shape)
    return strength * ndimage.gaussian_filter(noise, smoothness, mode="reflect", truncate=3)
