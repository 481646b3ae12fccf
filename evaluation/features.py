"""Runs a frozen network over images."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import Images
from semppl.data.views.recipes import find_recipe
from semppl.layers.inputs.preparation import inference_preparation


def preparation_of(hyperparameters: Hyperparameters) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the preparation of images on which a run's encoder is evaluated."""
    centre_crop = find_recipe(hyperparameters.recipe).centre_crop
    return inference_preparation(hyperparameters.large_size, centre_crop=centre_crop)


def embed(
    function: Callable[[tf.Tensor], tf.Tensor],
    images: Images,
    *,
    prepare: Callable[[tf.Tensor], tf.Tensor],
    batch_size: int = 256,
    positions: np.ndarray | None = None,
) -> np.ndarray:
    """Maps images through a network, a batch at a time.

    Args:
        function: maps `[B, h, w, C]` to `[B, D]`, in inference mode.
        images: in memory or on disk.
        prepare: maps `[B, H, W, C]` uint8, or float32 in 0..1, to what `function` takes.
        batch_size: images at a time.
        positions: `[k]` of those wanted; None means all.

    Returns:
        `[k, D]` float32.
    """
    compiled = tf.function(function, reduce_retracing=True, autograph=False)
    return np.concatenate(
        [compiled(part).numpy() for part in images.batches(prepare, batch_size=batch_size, positions=positions)]
    )
