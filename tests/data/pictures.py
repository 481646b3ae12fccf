"""Pictures for tests."""

import numpy as np
import tensorflow as tf


def smooth_picture(height, width, channels=3, seed=0):
    """Smooth colours with some noise."""
    rng = np.random.default_rng(seed)
    coarse = tf.image.resize(rng.uniform(0, 255, (4, 4, channels)), [height, width], "bicubic")
    return np.clip(coarse + rng.normal(0, 9, (height, width, channels)), 0, 255).astype(np.uint8)
