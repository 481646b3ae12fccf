"""Features of images by a frozen network."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tqdm

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import Images
from semppl.data.views.recipes import find_recipe
from semppl.layers.inputs.preparation import inference_preparation


def preparation_of(hyperparameters: Hyperparameters, *, size: int = 0) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function that crops and resizes images for the evaluation of a run's encoder.

    Args:
        hyperparameters: Settings of the run.
        size: Side of the result, in pixels; 0, the default, for that of evaluation.
    """
    centre_crop = find_recipe(hyperparameters.recipe).centre_crop
    return inference_preparation(size or hyperparameters.embedded_size, centre_crop=centre_crop)


def embed(
    function: Callable[[tf.Tensor], tf.Tensor],
    images: Images,
    *,
    prepare: Callable[[tf.Tensor], tf.Tensor],
    batch_size: int = 256,
    positions: np.ndarray | None = None,
    name: str = "pictures",
) -> np.ndarray:
    """Maps images through a network, a batch at a time; what takes seconds has a progress bar.

    Args:
        function: Maps `[B, h, w, C]` to `[B, D]`, in inference mode.
        images: Images in memory or on disk.
        prepare: Maps `[B, H, W, C]` uint8, or float32 in 0..1, to the input of `function`.
        batch_size: Maximum batch size.
        positions: Integers `[k]`, positions of the images to map; None: all.
        name: Name of the images, before the progress bar.

    Returns:
        `[k, D]` float32 outputs of `function`.
    """
    compiled = tf.function(function, reduce_retracing=True, autograph=False)
    count, outputs = len(images) if positions is None else len(positions), []
    with tqdm.tqdm(desc=name, total=count, unit=" pictures", delay=2, mininterval=1, leave=False) as bar:
        for part in images.batches(prepare, batch_size=batch_size, positions=positions):
            outputs.append(compiled(part).numpy())
            bar.update(len(outputs[-1]))
    return np.concatenate(outputs)


def map_rows(function: Callable[[tf.Tensor], tf.Tensor], rows: np.ndarray, *, batch_size: int = 4096) -> np.ndarray:
    """Maps `[n, F]` through a network, a batch at a time.

    Args:
        function: Maps `[B, F]` to `[B, D]`, in inference mode.
        rows: `[n, F]` float32, n ≥ 1.
        batch_size: Maximum batch size.

    Returns:
        `[n, D]` float32 outputs of `function`.
    """
    compiled = tf.function(function, reduce_retracing=True, autograph=False)
    batches = (rows[first : first + batch_size] for first in range(0, len(rows), batch_size))
    return np.concatenate([compiled(tf.constant(batch)).numpy() for batch in batches])
