"""Preparation of images without augmentation, shared by evaluation and served models."""

import functools
from collections.abc import Callable

import tensorflow as tf

from semppl.layers.inputs import resampling


def inference_preparation(size: int, *, centre_crop: float, shrink: int = 0) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `prepare` with the settings of a run.

    Args:
        size: Side of the result, in pixels.
        centre_crop: Side of the central square as a share of the shorter side, in (0, 1]; 1 takes
            the whole image.
        shrink: Shorter side, in pixels, that larger images are shrunk to first; 0 (the default): no
            limit.
    """
    return functools.partial(prepare, size=size, crop=centre_crop, shrink=shrink)


def prepare(images: tf.Tensor, *, size: int, crop: float, shrink: int = 0) -> tf.Tensor:
    """Shrinks images with antialiasing, crops the centre and resizes it with bicubic interpolation.

    Args:
        images: `[B, H, W, C]` integers over the whole range of their dtype, or float32 in 0..1.
        size: Side of the result, in pixels.
        crop: Side of the central square relative to the shorter side; 1 takes the whole image,
            square or not.
        shrink: Shorter side, in pixels, that larger images are shrunk to first; 0 (the default): no
            limit.

    Returns:
        `[B, size, size, C]` float32 in 0..1.

    Reference: the official evaluation of SemPPL: central 224/256, bicubic, with its rounding.
    """
    images = tf.convert_to_tensor(images)
    if shrink:
        images = shrunk(images, shrink)
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
    """Computes a fingerprint of each image's size and pixels, to find copies of a picture.

    Images are shrunk, then converted to bytes.

    Args:
        images: `[B, H, W, C]` images, see `prepare`.
        shrink: Shorter side, in pixels, that larger images are shrunk to first; 0 (the default): no
            limit.

    Returns:
        `[B]` int64 fingerprints; equal for equal images.
    """
    images = tf.convert_to_tensor(images)
    if shrink:
        images = shrunk(images, shrink)
    pixels = images if images.dtype == tf.uint8 else _as_bytes(images)
    count, size = tf.shape(pixels)[0], tf.bitcast(tf.shape(pixels)[1:3], tf.uint8)  # [2,4]
    rows = tf.concat([tf.tile(tf.reshape(size, [1, 8]), [count, 1]), tf.reshape(pixels, [count, -1])], 1)
    return tf.bitcast(tf.fingerprint(rows), tf.int64)


def _resized_bytes(images: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes integers without casting the large image to float32, which would take four times the memory."""

    def resized() -> tf.Tensor:
        return tf.cast(tf.image.resize(images, [size, size], tf.image.ResizeMethod.BICUBIC), tf.float32)

    # Resizing to the same size changes no bit, but takes as long as decoding the file.
    has_size = tf.reduce_all(tf.shape(images)[1:3] == size)
    return tf.cond(has_size, lambda: tf.cast(images, tf.float32), resized)


def shrunk(images: tf.Tensor, side: int) -> tf.Tensor:
    """Shrinks larger images and rounds them to bytes, to the bit as the data's reader does.

    Args:
        images: `[B, H, W, C]` images, see `prepare`.
        side: Shorter side of the result, in pixels; images whose shorter side is smaller are returned unchanged.
    """
    shape = tf.shape(images)[1:3]
    shorter = tf.reduce_min(shape)
    size = tf.cast(tf.round(tf.cast(shape * side, tf.float64) / tf.cast(shorter, tf.float64)), tf.int32)

    def smaller() -> tf.Tensor:
        pixels = images if images.dtype == tf.uint8 else _as_bytes(images)
        small = tf.cast(resampling.shrink(pixels, size[0], size[1]), images.dtype)
        return small * (images.dtype.max // 255) if images.dtype.is_integer else small / 255

    return tf.cond(shorter > side, smaller, lambda: images)


def _as_bytes(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(
        tf.round(255.0 * tf.clip_by_value(tf.image.convert_image_dtype(images, tf.float32), 0.0, 1.0)), tf.uint8
    )
