"""How an image is prepared when nothing is random: the same in evaluation and in a served model."""

import functools
from collections.abc import Callable

import tensorflow as tf

CENTRE_CROP = 224 / 256


def test_view(recipe: str, size: int, *, shrink: int = 0) -> Callable[[tf.Tensor], tf.Tensor]:  # noqa: PT028  (no test)
    """Returns the preparation that goes with an augmentation recipe: `imagenet` crops the centre, the others do not.

    Args:
        recipe: that the encoder was trained with.
        size: side of the result, in pixels.
        shrink: shorter side that larger images are shrunk to first, where training saw them so; 0 leaves them as they are.
    """
    crop = CENTRE_CROP if recipe == "imagenet" else 1.0
    return functools.partial(prepare, size=size, crop=crop, shrink=shrink)


test_view.__test__ = False  # type: ignore[attr-defined]  # whatever pytest thinks of its name


def prepare(images: tf.Tensor, *, size: int, crop: float, shrink: int = 0) -> tf.Tensor:
    """Shrinks the images without aliasing, cuts the centre out and resizes it, bicubic.

    Args:
        images: `[B, H, W, C]` integers, their whole range, or float32 in 0..1.
        size: side of the result, in pixels.
        crop: side of the central square as a share of the shorter side; 1 takes the whole image, whatever its shape.
        shrink: shorter side that larger images are shrunk to first; 0 leaves them as they are.

    Returns:
        `[B, size, size, C]` float32 in 0..1.

    Reference: the official evaluation of SemPPL: central 224/256, bicubic, with its rounding.
    """
    if shrink:
        images = _shrunk(tf.image.convert_image_dtype(images, tf.float32), shrink)
    images = tf.convert_to_tensor(images)
    largest = images.dtype.max if images.dtype.is_integer else 1
    if crop < 1:
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        side = tf.maximum(tf.cast(tf.cast(tf.minimum(height, width), tf.float32) * crop, tf.int32), 1)
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        images = tf.image.crop_to_bounding_box(images, top, left, side, side)

    def resized() -> tf.Tensor:  # bytes: a large picture stays small
        return tf.image.resize(images, [size, size], tf.image.ResizeMethod.BICUBIC)

    if (
        images.dtype.is_integer
    ):  # resizing keeps what has the size, to the bit; of a file that takes as long as its decoding
        has_size = tf.reduce_all(tf.shape(images)[1:3] == size)
        pixels = tf.cond(has_size, lambda: tf.cast(images, tf.float32), lambda: tf.cast(resized(), tf.float32))
        pixels = tf.ensure_shape(pixels, [None, size, size, images.shape[-1]])
    else:  # without a branch, for other runtimes
        pixels = tf.cast(resized(), tf.float32)
    return tf.clip_by_value(pixels / largest, 0.0, 1.0)


def _shrunk(images: tf.Tensor, side: int) -> tf.Tensor:
    """Shrinks as the data's reader does, to within rounding; smaller images stay as they are."""
    shape = tf.shape(images)[1:3]
    shorter = tf.reduce_min(shape)
    size = tf.cast(tf.round(tf.cast(shape * side, tf.float64) / tf.cast(shorter, tf.float64)), tf.int32)

    def smaller() -> tf.Tensor:
        resized = tf.image.resize(images, size, tf.image.ResizeMethod.BICUBIC, antialias=True)
        return tf.clip_by_value(resized, 0.0, 1.0)

    return tf.cond(shorter > side, smaller, lambda: images)
