"""From a batch of images to large and small views, each view by its own stateless seed."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from semppl.data import geometry, randomness

Recipe = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, int], tf.Tensor]
"""`(images [N,H,W,C], seeds [N,2], view numbers [N] int32, size) -> [N,size,size,C]`, all in [0, 1]."""


@dataclass(frozen=True)
class Digits:
    """Ranges for small grey scans of hand-writing; nothing is mirrored."""

    shift: float = 0.125  # of the image's size: one pixel of eight
    zoom: float = 0.15
    rotation: float = 15.0  # degrees
    shear: float = 0.15
    contrast: float = 0.2
    brightness: float = 0.1
    noise: float = 0.05


def make_views(
    images: tf.Tensor,
    *,
    seed: tf.Tensor,
    recipe: str,
    large_views: int,
    small_views: int,
    large_size: int,
    small_size: int,
) -> dict[str, tf.Tensor]:
    """Makes random views of each image, which depend on its own seed and on nothing else.

    Large views are numbers 0 to L - 1 of an image's views, small views the numbers after them.

    Args:
        images: `[B, H, W, C]` uint8, or float32 in [0, 1].
        seed: `[B, 2]` int32 or int64, one per image and step.
        recipe: a key of `RECIPES`.
        large_views: L.
        small_views: S.
        large_size: height and width of a large view.
        small_size: height and width of a small view.

    Returns:
        `{"large": [L, B, large_size, large_size, C], "small": [S, B, small_size, small_size, C]}`, float32 in [0, 1].

    Raises:
        ValueError: for an unknown recipe, or images or seeds of another type or shape.
    """
    if recipe not in RECIPES:
        raise ValueError(f"`recipe` must be one of {sorted(RECIPES)}. Received: recipe={recipe!r}")
    if images.dtype not in (tf.uint8, tf.float32) or images.shape.rank != 4:
        raise ValueError(
            f"`images` must be uint8 or float32 of shape [B, H, W, C]. Received: {images.dtype.name} {images.shape}"
        )
    sources = tf.image.convert_image_dtype(images, tf.float32)
    seeds = randomness.split(seed, large_views + small_views)  # [V,B,2]
    return {
        "large": _views(sources, seeds[:large_views], 0, RECIPES[recipe], large_size),
        "small": _views(sources, seeds[large_views:], large_views, RECIPES[recipe], small_size),
    }


def identity(images: tf.Tensor, seeds: tf.Tensor, views: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes only."""
    del seeds, views
    return tf.clip_by_value(tf.image.resize(images, [size, size], "bicubic"), 0.0, 1.0)


def digits(images: tf.Tensor, seeds: tf.Tensor, views: tf.Tensor, size: int, *, settings: Digits) -> tf.Tensor:
    """Moves, zooms, turns and leans; then scales, lifts and adds noise."""
    del views
    moves = 2.0 * randomness.uniform(seeds, "affine", [5]) - 1.0  # [N,5]
    matrices = geometry.affine_matrices(
        shift=settings.shift * moves[:, :2],
        zoom=1.0 + settings.zoom * moves[:, 2],
        rotation=math.radians(settings.rotation) * moves[:, 3],
        shear=settings.shear * moves[:, 4],
    )
    moved = geometry.affine(images, matrices, size)
    light = 2.0 * randomness.uniform(seeds, "light", [2, 1, 1, 1]) - 1.0  # [N,2,1,1,1]
    lit = moved * (1.0 + settings.contrast * light[:, 0]) + settings.brightness * light[:, 1]
    noise = settings.noise * randomness.normal(seeds, "noise", moved.shape[1:])
    return tf.clip_by_value(lit + noise, 0.0, 1.0)


RECIPES: dict[str, Recipe] = {
    "digits": functools.partial(digits, settings=Digits()),
    "identity": identity,
}


def _views(images: tf.Tensor, seeds: tf.Tensor, first: int, recipe: Recipe, size: int) -> tf.Tensor:
    """Applies a recipe to every image for every `[V, B, 2]` seed, as one batch of V·B rows: `[V, B, size, size, C]`."""
    count, batch, (height, width, channels) = seeds.shape[0], tf.shape(images)[0], images.shape[1:]
    if count == 0:
        return tf.zeros([0, batch, size, size, channels])
    rows = tf.reshape(tf.broadcast_to(images, [count, batch, height, width, channels]), [-1, height, width, channels])
    numbers = tf.repeat(first + tf.range(count), batch)  # [V·B]
    views = recipe(rows, tf.reshape(seeds, [-1, 2]), numbers, size)
    return tf.ensure_shape(
        tf.reshape(views, [count, batch, size, size, channels]), [count, images.shape[0], size, size, channels]
    )
