"""Bicubic resampling equal to Pillow's and TensorFlow's, from operations that other runtimes support too."""

import tensorflow as tf

_SUPPORT = 2.0  # of the cubic kernel, in pixels of the coarser grid
_FIXED = 22  # fractional bits of Pillow's weights
_SPLITS = (12, 6)  # bits at which a weight is split, so that sums of products are integers below 2**24
_TABLE = 1024  # entries of TensorFlow's table of the kernel


def shrink(images: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Shrinks images with antialiasing: first their rows, rounded to bytes, then their columns.

    Exact for factors up to 256: float32 represents sums of a thousand products of a byte and 6
    bits.

    Args:
        images: `[B, H, W, C]` uint8 images.
        height: Height of the result, less than H.
        width: Width of the result, less than W.

    Returns:
        `[B, height, width, C]` uint8.

    Reference: Pillow, `Image.resize` with BICUBIC: Keys' kernel, a = −1/2, as wide as the factor,
    in fixed point.
    """
    columns_last = tf.transpose(images, [0, 3, 1, 2])  # [B,C,H,W]
    rows_last = tf.transpose(_shrink_last(columns_last, width), [0, 1, 3, 2])  # [B,C,w,H]
    return tf.transpose(_shrink_last(rows_last, height), [0, 3, 2, 1])


def resize(images: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes images as bicubic `tf.image.resize` does without antialiasing, to a few units in the last place.

    Args:
        images: `[B, H, W, C]` float32 images.
        size: Side of the result, in pixels.

    Returns:
        `[B, size, size, C]` float32 images.

    Reference: Keys 1981, a = −1/2; weights outside the image are dropped, and the others scaled to
    a sum of 1.
    """
    for axis in (1, 2):
        indices, weights = _taps(tf.shape(images)[axis], size)
        shape = [size if side == axis else 1 for side in range(4)]
        parts = [tf.gather(images, indices[tap], axis=axis) * tf.reshape(weights[tap], shape) for tap in range(4)]
        images = tf.add_n(parts)
    return images


def _shrink_last(values: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Shrinks the last axis of `[..., n]` uint8 to `size`."""
    shape = tf.shape(values)
    weights = _fixed_point_weights(shape[-1], size)  # [n,size]
    large, rest = weights // 2 ** _SPLITS[0], weights % 2 ** _SPLITS[0]
    parts = tf.cast(tf.concat([large, rest // 2 ** _SPLITS[1], rest % 2 ** _SPLITS[1]], 1), tf.float32)
    flat = tf.cast(tf.reshape(values, [-1, shape[-1]]), tf.float32)
    sums = tf.split(tf.cast(tf.matmul(flat, parts), tf.int32), 3, axis=1)
    total = sums[0] * 2 ** _SPLITS[0] + sums[1] * 2 ** _SPLITS[1] + sums[2] + 2 ** (_FIXED - 1)
    levels = tf.minimum(tf.maximum(total, 0) // 2**_FIXED, 255)
    return tf.cast(tf.reshape(levels, tf.concat([shape[:-1], [size]], 0)), tf.uint8)


def _fixed_point_weights(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Returns the weight of each pixel in each pixel of the result: `[before, after]` int32, in units of 2⁻²²."""
    factor = tf.cast(before, tf.float64) / tf.cast(after, tf.float64)
    centres = (tf.cast(tf.range(after), tf.float64) + 0.5) * factor
    support = _SUPPORT * factor
    pixels = tf.cast(tf.range(before), tf.float64)[:, tf.newaxis]
    first = tf.floor(tf.maximum(centres - support + 0.5, 0.0))
    last = tf.floor(centres + support + 0.5)
    weights = tf.where((pixels >= first) & (pixels < last), _cubic((pixels - centres + 0.5) / factor), 0.0)
    weights /= tf.reduce_sum(weights, axis=0)
    scaled = weights * 2.0**_FIXED
    return tf.cast(tf.sign(scaled) * tf.floor(tf.abs(scaled) + 0.5), tf.int32)


def _taps(before: tf.Tensor, after: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the four source pixels of each pixel of the result: `[4, after]` int32 indices and weights."""
    factor = tf.cast(before, tf.float32) / after
    centres = (tf.range(after, dtype=tf.float32) + 0.5) * factor - 0.5
    whole = tf.floor(centres)
    fraction = tf.round((centres - whole) * _TABLE) / _TABLE
    offsets = tf.constant([-1, 0, 1, 2])[:, tf.newaxis]
    taps = tf.cast(whole, tf.int32) + offsets
    inside = (taps >= 0) & (taps < before)
    weights = tf.where(inside, _cubic(tf.cast(offsets, tf.float32) - fraction), 0.0)
    return tf.clip_by_value(taps, 0, before - 1), weights / tf.reduce_sum(weights, axis=0)


def _cubic(distance: tf.Tensor) -> tf.Tensor:
    """Returns Keys' kernel with a = −1/2, at any distances in pixels."""
    x = tf.abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return tf.where(x < 1.0, near, tf.where(x < _SUPPORT, far, tf.zeros_like(x)))
