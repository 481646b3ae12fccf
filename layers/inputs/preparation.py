"""How an image is prepared when nothing is random: the same in evaluation and in a served model."""

import functools
from collections.abc import Callable

import tensorflow as tf

from semppl.layers.inputs import resampling


def inference_preparation(size: int, *, centre_crop: float, shrink: int = 0) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `prepare` with the settings of a run.

    Args:
        size: Side of the result, in pixels.
        centre_crop: Side of the central square as a share of the shorter side, in (0, 1]; 1 takes the whole image.
        shrink: Shorter side, in pixels, to which larger images are shrunk first; 0 leaves them as they are.
    """
    return functools.partial(prepare, size=size, crop=centre_crop, shrink=shrink)


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
    images = tf.convert_to_tensor(images)
    if shrink:
        images = _shrunk(images, shrink)
    largest = images.dtype.max if images.dtype.is_integer else 1
    if crop < 1:
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        side = tf.maximum(tf.cast(tf.cast(tf.minimum(height, width), tf.float32) * crop, tf.int32), 1)
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        images = tf.image.crop_to_bounding_box(images, top, left, side, side)
    if images.dtype.is_integer:
        pixels = tf.ensure_shape(_resized_bytes(images, size), [None, size, size, images.shape[-1]])
    else:  # of operations that other runtimes have too
        pixels = resampling.resize(images, size)
    return tf.clip_by_value(pixels / largest, 0.0, 1.0)


def fingerprints(images: tf.Tensor, *, shrink: int = 0) -> tf.Tensor:
    """Tells images apart by their pixels, and copies of a picture as such: after shrinking, and in bytes.

    Args:
        images: `[B, H, W, C]` as `prepare` takes them.
        shrink: as there.

    Returns:
        `[B]` int64.
    """
    images = tf.convert_to_tensor(images)
    if shrink:
        images = _shrunk(images, shrink)
    pixels = images if images.dtype == tf.uint8 else _as_bytes(images)
    count, size = tf.shape(pixels)[0], tf.bitcast(tf.shape(pixels)[1:3], tf.uint8)  # [2,4]
    rows = tf.concat([tf.tile(tf.reshape(size, [1, 8]), [count, 1]), tf.reshape(pixels, [count, -1])], 1)
    return tf.bitcast(tf.fingerprint(rows), tf.int64)


def _resized_bytes(images: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes bytes as they are: a large picture stays small."""

    def resized() -> tf.Tensor:
        return tf.cast(tf.image.resize(images, [size, size], tf.image.ResizeMethod.BICUBIC), tf.float32)

    # Resizing keeps what has the size, to the bit; of a file that would take as long as its decoding.
    has_size = tf.reduce_all(tf.shape(images)[1:3] == size)
    return tf.cond(has_size, lambda: tf.cast(images, tf.float32), resized)


def _shrunk(images: tf.Tensor, side: int) -> tf.Tensor:
    """Shrinks as the data's reader does, to the bit: to bytes, whatever the images are; smaller images stay as they are."""
    shape = tf.shape(images)[1:3]
    shorter = tf.reduce_min(shape)
    size = tf.cast(tf.round(tf.cast(shape * side, tf.float64) / tf.cast(shorter, tf.float64)), tf.int32)

    def smaller() -> tf.Tensor:
        exact = images if images.dtype == tf.uint8 else _as_bytes(images)
        shrunk = tf.cast(resampling.shrink(exact, size[0], size[1]), images.dtype)
        return shrunk * (images.dtype.max // 255) if images.dtype.is_integer else shrunk / 255

    return tf.cond(shorter > side, smaller, lambda: images)


def _as_bytes(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(
        tf.round(255.0 * tf.clip_by_value(tf.image.convert_image_dtype(images, tf.float32), 0.0, 1.0)), tf.uint8
    )
