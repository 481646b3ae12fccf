"""How an image is prepared when nothing is random: the same in evaluation and in a served model."""

import functools
from collections.abc import Callable

import tensorflow as tf

CENTRE_CROP = 224 / 256


def test_view(recipe: str, size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the preparation that goes with an augmentation recipe: `imagenet` crops the centre, the others do not."""
    return functools.partial(prepare, size=size, crop=CENTRE_CROP if recipe == "imagenet" else 1.0)


test_view.__test__ = False  # type: ignore[attr-defined]  # whatever pytest thinks of its name


def prepare(images: tf.Tensor, *, size: int, crop: float) -> tf.Tensor:
    """Cuts the centre out and resizes it, bicubic.

    Args:
        images: `[B, H, W, C]` uint8, or float32 in 0..1.
        size: side of the result, in pixels.
        crop: side of the central square as a share of the shorter side; 1 takes the whole image, whatever its shape.

    Returns:
        `[B, size, size, C]` float32 in 0..1.

    Reference: the official evaluation of SemPPL: central 224/256, bicubic, with its rounding.
    """
    images = tf.convert_to_tensor(images)
    largest = images.dtype.max if images.dtype.is_integer else 1
    if crop < 1:
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        side = tf.maximum(tf.cast(tf.cast(tf.minimum(height, width), tf.float32) * crop, tf.int32), 1)
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        images = tf.image.crop_to_bounding_box(images, top, left, side, side)
    resized = tf.image.resize(images, [size, size], tf.image.ResizeMethod.BICUBIC)  # bytes: a large picture stays small
    return tf.clip_by_value(tf.cast(resized, tf.float32) / largest, 0.0, 1.0)
