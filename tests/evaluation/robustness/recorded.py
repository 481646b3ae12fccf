"""Records what imagecorruptions makes of an image: `python -m semppl.tests.evaluation.robustness.recorded` where it is installed.

imagecorruptions-imaug 1.1.5 draws from numpy's global generator, in whose place it gets the generator of `corrupt`.
"""

import json
import pathlib
import zlib
from unittest import mock

import numpy as np
from PIL import Image
from scipy import ndimage

from semppl.evaluation.robustness import corruptions
from semppl.evaluation.robustness.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES

FILE = pathlib.Path(__file__).resolve().parents[2] / "goldens" / "imagecorruptions.json"


def image() -> np.ndarray:
    """Returns a smooth image `[72, 72, 3]` uint8, of sides from which no enlargement of snow cuts anything off."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).uniform(size=(72, 72, 3)), (4, 4, 0))
    return (255 * (noise - noise.min()) / (noise.max() - noise.min())).astype(np.uint8)


def ours(name: str, severity: int) -> np.ndarray:
    """Returns our corrupted image, `[72, 72, 3]`."""
    return corruptions.corrupt(image(), name, severity).astype(float)


def theirs(name: str, severity: int) -> np.ndarray:
    """Returns the corrupted image of imagecorruptions, `[72, 72, 3]`, from the same random draws."""
    from imagecorruptions import corruptions as reference

    rng = np.random.default_rng((0, 0, severity, zlib.crc32(name.encode())))
    draws = {draw: getattr(rng, draw) for draw in ("normal", "poisson", "uniform")}
    with mock.patch.multiple(np.random, **draws):
        corrupted = getattr(reference, name)(Image.fromarray(image()), severity)
    return np.uint8(corrupted).astype(float)


def described(pixels: np.ndarray) -> list[float]:
    """Returns the means of 3 × 4 blocks of each channel, and the mean change of a pixel."""
    blocks = pixels.reshape(3, 24, 4, 18, 3).mean((1, 3)).ravel()
    return [round(float(number), 2) for number in (*blocks, np.abs(pixels - image()).mean())]


def made() -> dict[str, list[float]]:
    """Describes every image of imagecorruptions."""
    return {
        f"{name}/{severity}": described(theirs(name, severity))
        for name in CORRUPTIONS | EXTRA_CORRUPTIONS
        for severity in SEVERITIES
        if name not in ("impulse_noise", "glass_blur", "frost", "elastic_transform")
    }


if __name__ == "__main__":
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in made().items())
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
