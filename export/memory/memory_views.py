"""Random views of a labelled image, whose embeddings are averaged in a memory."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.crops import crop_picture
from semppl.data.views.making import finish_views, make_views
from semppl.layers.inputs.preparation import fingerprints, shrunk


def random_view(images: tf.Tensor, hyperparameters: Hyperparameters, number: int) -> tf.Tensor:
    """Makes a random large view of each image by the recipe of a run; it depends on the pixels and the number alone.

    Args:
        images: `[B, H, W, C]` uint8 or uint16, or float32 in 0..1; if H and W are not static, B is 1, as of pictures on disk.
        hyperparameters: Hyper-parameters of the run.
        number: Number of the view, 1 or more; view 0 is the image as evaluation prepares it.

    Returns:
        `[B, size, size, C]` float32 in 0..1.
    """
    images = tf.convert_to_tensor(images)
    if hyperparameters.shrink:
        images = shrunk(images, hyperparameters.shrink)
    prints = fingerprints(images)
    settings = dataclasses.replace(hyperparameters.views, large_views=1, small_views=0)
    seeds = tf.stack([prints, tf.fill(tf.shape(prints), tf.constant(number, tf.int64))], 1)
    if images.shape[1] is not None:
        return make_views(images, settings, seed=seeds)["large"][0]
    crops = {name: crop[:, tf.newaxis] for name, crop in crop_picture(images[0], settings, seed=seeds[0]).items()}
    return finish_views(crops | {"seeds": seeds}, recipe=settings.recipe)["large"][0]


def mean_direction(embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the unit-norm mean of unit-norm embeddings `[n, D]` of the views; those of a single view unchanged."""
    if len(embeddings) == 1:
        return embeddings[0]
    mean = np.mean(embeddings, axis=0)
    direction: np.ndarray = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    return direction


def framed(views: tf.Tensor, *, centre_crop: float) -> tf.Tensor:
    """Pads views `[B, size, size, C]` to images of which the preparation for evaluation returns the views."""
    size = int(views.shape[1])
    side = _framed_side(size, centre_crop)
    before = (side - size + 1) // 2
    margins = [before, side - size - before]
    return tf.pad(views, [[0, 0], margins, margins, [0, 0]])


def check_views(views: int, hyperparameters: Hyperparameters, *, centre_crop: float) -> None:
    """Refuses a number of views that a model cannot embed.

    Raises:
        ValueError: If the number is not positive, views have another size than pictures in evaluation, or `framed` images are
            larger than those that the model shrinks.
    """
    if views < 1:
        raise ValueError(f"--memory_views must be 1 or more. Received: {views}")
    if views > 1 and hyperparameters.embedded_size != hyperparameters.large_size:
        sizes = f"--inference_size={hyperparameters.inference_size} is not that of views, {hyperparameters.large_size}"
        raise ValueError(f"--memory_views must be 1 where {sizes}. Received: {views}")
    side, shrink = _framed_side(hyperparameters.embedded_size, centre_crop), hyperparameters.shrink
    if views > 1 and 0 < shrink < side:
        raise ValueError(f"--memory_views must be 1 where --shrink={shrink} is below {side}. Received: {views}")


def _framed_side(size: int, centre_crop: float) -> int:
    """Returns the smallest side of an image whose central square, of a share `centre_crop` of the side, has `size` pixels."""
    side = size
    while int(np.float32(side) * np.float32(centre_crop)) < size:
        side += 1
    return side
