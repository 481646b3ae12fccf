"""The weather of ImageNet-C: snow, frost, fog, and spatter of water or mud.

Each function maps an image `[H, W, C]` in 0..1, of one or three channels, and a severity in 1..5 to an image in 0..1, and draws
from a generator.

Reference: Hendrycks & Dietterich 2019, arXiv 1903.12261, and their published parameters.
"""

import numpy as np
from scipy import ndimage

from semppl.evaluation.robustness.blur import enlarged, moved, smoothed
from semppl.evaluation.robustness.textures import frost_crystals, plasma

_LUMA = np.array([0.299, 0.587, 0.114])
_WATER, _MUD = np.array([175, 238, 238]) / 255, np.array([63, 42, 20]) / 255


def snow(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Whitens the image, and adds blurred flakes, and the same flakes from the other side."""
    mean, stddev, zoom, least, radius, blur, share = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    flakes = enlarged(rng.normal(size=image.shape[:2], loc=mean, scale=stddev)[..., np.newaxis], zoom)
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1)
    flakes = moved(flakes, radius=radius, stddev=blur, degrees=rng.uniform(-135, -45))
    white = share * image + (1 - share) * np.maximum(image, 1.5 * grey(image)[..., np.newaxis] + 0.5)
    return np.clip(white + flakes + flakes[::-1, ::-1], 0, 1)


def frost(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Adds frost; ImageNet-C adds photographs of frost, which are replaced by a drawn texture here."""
    share, of_frost = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    height, width = image.shape[:2]
    texture = like(image, frost_crystals(height, width, rng))
    return np.clip(share * image + of_frost * texture, 0, 1)


def fog(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Adds a plasma fractal, and scales the brightest value to what it was."""
    amount, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[severity - 1]
    height, width = image.shape[:2]
    brightest = image.max()
    mist = plasma(max(height, width), decay, rng)[:height, :width, np.newaxis]
    return np.clip((image + amount * mist) * brightest / (brightest + amount), 0, 1)


def spatter(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Adds drops of water, or from severity 4 on patches of mud.

    Edges of the drops are those of a gradient, where the published code has Canny's, which are thinner.
    """
    mean, stddev, blur, least, amount, mud = (
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    )[severity - 1]
    drops = rng.normal(size=image.shape[:2], loc=mean, scale=stddev)
    drops = smoothed(drops[..., np.newaxis], blur)[..., 0]
    drops = np.where(drops < least, 0, drops)
    if mud:
        wet = smoothed((drops > least).astype(np.float64)[..., np.newaxis], amount)
        wet = np.where(wet < 0.8, 0, wet)
        return np.clip(image * (1 - wet) + like(image, _MUD * wet), 0, 1)
    return np.clip(image + like(image, _WATER * _shine(drops, amount)[..., np.newaxis]), 0, 1)


def grey(image: np.ndarray) -> np.ndarray:
    """Returns the brightness `[H, W]` of an image `[H, W, C]` of one or three channels."""
    return image @ _LUMA if image.shape[-1] == 3 else image[..., 0]


def like(image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Returns colours `[H, W, 3]` with as many channels as an image `[H, W, C]`."""
    return colours if image.shape[-1] == 3 else grey(colours)[..., np.newaxis]


def _shine(drops: np.ndarray, amount: float) -> np.ndarray:
    """Lights drops `[H, W]` from one side: up to `amount`, brightest near their edges."""
    slopes = np.hypot(ndimage.sobel(drops, 0), ndimage.sobel(drops, 1))
    edges = slopes > 150 / 255
    near = ndimage.distance_transform_edt(~edges) if edges.any() else np.full(drops.shape, 20.0)
    near = _equalised(ndimage.uniform_filter(np.floor(np.minimum(near, 20)), 3, mode="mirror"))
    relief = ndimage.correlate(near, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2.0]]), mode="mirror")
    relief = ndimage.uniform_filter(np.clip(relief, 0, 255), 3, mode="mirror")
    light = drops * relief
    return light / max(light.max(), np.finfo(float).tiny) * amount


def _equalised(levels: np.ndarray) -> np.ndarray:
    """Equalises the histogram of levels `[H, W]` to 0..255."""
    _, places, counts = np.unique(np.floor(levels), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - counts[0]
    return 255 * (ranks / max(ranks[-1], 1))[places].reshape(levels.shape)
