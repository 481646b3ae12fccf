"""Pictures for tests."""

import numpy as np
import tensorflow as tf
from PIL import Image


def smooth_picture(height, width, channels=3, seed=0):
    """Smooth colours with some noise."""
    rng = np.random.default_rng(seed)
    coarse = tf.image.resize(rng.uniform(0, 255, (4, 4, channels)), [height, width], "bicubic")
    return np.clip(coarse + rng.normal(0, 9, (height, width, channels)), 0, 255).astype(np.uint8)


def write_two_classes(folder):
    """Writes twenty noisy PNG files of 32×32 pixels for each of the classes "dark" and "light", in sub-folders."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 0), ("light", 128)):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(level, level + 128, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
