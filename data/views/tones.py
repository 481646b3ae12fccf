"""Operations that depend on an image's own range or histogram, or blend it with a degenerate image, as Pillow does.

Images are `[B, H, W, C]` float32 in [0, 1]; results are clipped to that range. Pillow computes in 8 bits: results differ from
Pillow's by rounding. Operations that are defined on levels round to the 256 levels first. Images without three channels
have no colour; the contrast of each of their channels is changed separately.

Reference: Cubuk et al. 2019, arXiv 1805.09501, appendix A, names the operations; Pillow's ImageOps and ImageEnhance define them.
"""

import numpy as np
import tensorflow as tf

from semppl.data.views.augmentations import to_grayscale

LEVELS = 256


def blend(degenerate: tf.Tensor, images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Interpolates from a degenerate image, at factor 0, to the image, at factor 1.

    The degenerate image is black for Pillow's Brightness, `to_grayscale` for Color, `mean_grey` for Contrast, and `smooth`
    for Sharpness.

    Args:
        degenerate: `[B, H, W, C]`, or a shape that broadcasts to that.
        images: `[B, H, W, C]`.
        factor: `[B]`.

    Returns:
        `[B, H, W, C]`.
    """
    factor = factor[:, tf.newaxis, tf.newaxis, tf.newaxis]
    return tf.clip_by_value(degenerate + factor * (images - degenerate), 0.0, 1.0)


def mean_grey(images: tf.Tensor) -> tf.Tensor:
    """Returns the mean luma, rounded to a level, of each image; without colour, the mean of each channel: `[B, 1, 1, C]`."""
    return tf.round(255.0 * tf.reduce_mean(to_grayscale(images), axis=[1, 2], keepdims=True)) / 255.0


def smooth(images: tf.Tensor) -> tf.Tensor:
    """Averages each pixel, with weight 5, and its eight neighbours; pixels at the border keep their values.

    Pillow calls this ImageFilter.SMOOTH.
    """
    lines = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    sums = lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:]
    smoothed = (sums + 4.0 * images[:, 1:-1, 1:-1]) / 13.0  # a convolution is twenty times as slow under XLA on CPUs
    inside = np.pad(np.ones([1, images.shape[1] - 2, images.shape[2] - 2, 1], bool), [(0, 0), (1, 1), (1, 1), (0, 0)])
    return tf.where(inside, tf.pad(smoothed, [(0, 0), (1, 1), (1, 1), (0, 0)]), images)


def autocontrast(images: tf.Tensor) -> tf.Tensor:
    """Stretches each channel from its darkest and lightest level to 0..1; a channel of one level stays as it is."""
    levels = tf.round(255.0 * images)
    low, high = (function(levels, axis=[1, 2], keepdims=True) for function in (tf.reduce_min, tf.reduce_max))
    stretched = (levels - low) / tf.maximum(high - low, 1.0)
    return tf.where(high > low, stretched, images)


def equalize(images: tf.Tensor) -> tf.Tensor:
    """Maps the levels of each channel so that they occur about equally often.

    Level i becomes ⌊(step/2 + number of pixels below i) / step⌋, where step = ⌊(pixels − pixels of the highest level) / 255⌋.
    With a step of 0, as in every image of at most 255 pixels, the channel stays as it is.
    """
    height, width, channels = images.shape[1:]
    levels = tf.cast(tf.round(255.0 * images), tf.int32)
    planes = tf.reshape(tf.transpose(levels, [0, 3, 1, 2]), [-1, height * width])  # [B·C,P]
    count = tf.shape(planes)[0]
    bins = planes + LEVELS * tf.range(count)[:, tf.newaxis]
    ones = tf.ones_like(tf.reshape(bins, [-1]))
    histogram = tf.math.unsorted_segment_sum(ones, tf.reshape(bins, [-1]), LEVELS * count)
    histogram = tf.reshape(histogram, [count, LEVELS])
    highest = tf.gather(histogram, tf.reduce_max(planes, axis=1, keepdims=True), batch_dims=1)  # [B·C,1]
    step = (height * width - highest) // 255
    table = (step // 2 + tf.cumsum(histogram, axis=1, exclusive=True)) // tf.maximum(step, 1)
    equal = tf.cast(tf.gather(tf.minimum(table, 255), planes, batch_dims=1), tf.float32) / 255.0
    equal = tf.transpose(tf.reshape(equal, [-1, channels, height, width]), [0, 2, 3, 1])
    changed = tf.reshape(step > 0, [-1, 1, 1, channels])
    return tf.where(changed, equal, images)


def posterize(images: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keeps the highest `bits`, `[B]` int32 in 1..8, of each level, and sets the others to 0."""
    unit = tf.cast(tf.bitwise.left_shift(1, 8 - bits), tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    return tf.floor(tf.round(255.0 * images) / unit) * unit / 255.0
