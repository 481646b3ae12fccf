"""Photometric operations on batches of images, each image with its own strengths.

They compute what the official code computes (tests/goldens/image_ops.md), as functions of given strengths: nothing here
is random. Images are `[B, H, W, C]` float32; `C = 3` is red, green, blue; any other number has no hue, no saturation
and no grey: there each channel is lit by itself.

Reference: Grill et al. 2020, arXiv 2006.07733, appendix B; Mitrovic et al. 2021, arXiv 2010.07922, on which
Bošnjak et al. 2023, arXiv 2301.05158, is built.
"""

import tensorflow as tf

_LUMA = (0.2989, 0.5870, 0.1140)


def adjust_brightness(images: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Adds `[B]` to each image, unclipped."""
    return images + _per_image(delta)


def adjust_contrast(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales each image's distance from each channel's mean by `[B]`, unclipped."""
    means = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    return means + _per_image(factor) * (images - means)


def adjust_saturation(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales each image's HSV saturation by `[B]`, up to full saturation."""
    planes = _adjust_colour(tf.transpose(images, [3, 0, 1, 2]), tf.zeros_like(factor), factor)
    return tf.transpose(planes, [1, 2, 3, 0])


def adjust_hue(images: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Turns each image's hue by `[B]`, in turns of the colour wheel."""
    planes = _adjust_colour(tf.transpose(images, [3, 0, 1, 2]), delta, tf.ones_like(delta))
    return tf.transpose(planes, [1, 2, 3, 0])


def to_grayscale(images: tf.Tensor) -> tf.Tensor:
    """Replaces the colours by their luma (ITU-R BT.601), in as many equal channels; what has no colours stays as it is."""
    if images.shape[-1] != 3:
        return images
    red, green, blue = tf.unstack(images, axis=-1)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return tf.stack([luma, luma, luma], axis=-1)


def solarize(images: tf.Tensor, threshold: float = 0.5) -> tf.Tensor:
    """Inverts the values from the threshold up."""
    return tf.where(images < threshold, images, 1.0 - images)


def gaussian_blur(images: tf.Tensor, sigma: tf.Tensor, *, kernel_size: int) -> tf.Tensor:
    """Blurs each image by its own width, with black beyond the border.

    The two passes are matrix products with a banded matrix per image, since a convolution has one kernel for all.

    Args:
        images: `[B, H, W, C]`.
        sigma: `[B]` in pixels; positive.
        kernel_size: taps of the kernel; an even number gets one more, as in the official code.

    Returns:
        `[B, H, W, C]`.
    """
    height, width = images.shape[1:3]
    planes = tf.transpose(images, [0, 3, 1, 2])
    rows, columns = (_blur_matrix(sigma, extent, kernel_size // 2)[:, tf.newaxis] for extent in (height, width))
    return tf.transpose(tf.matmul(tf.matmul(rows, planes), columns), [0, 2, 3, 1])


def colour_jitter(
    images: tf.Tensor,
    *,
    brightness: tf.Tensor,
    contrast: tf.Tensor,
    saturation: tf.Tensor,
    hue: tf.Tensor,
    ranks: tf.Tensor,
) -> tf.Tensor:
    """Applies four adjustments to each image, in the image's own order, and clips to [0, 1] after each.

    Saturation and hue act on different coordinates, so their order does not matter while no other lies between them.
    Any order is therefore a selection from five stages: colour, light, colour, light, colour, where a colour stage does
    the saturation, the hue, both or neither, and a light stage the brightness or the contrast. Three conversions of
    the colours serve for all 24 orders, at no branch.

    Args:
        images: `[B, H, W, C]` in [0, 1].
        brightness: `[B]` to add.
        contrast: `[B]` to multiply.
        saturation: `[B]` to multiply.
        hue: `[B]` to add, in turns.
        ranks: `[B, 4]` of brightness, contrast, saturation, hue; the smallest goes first.

    Returns:
        `[B, H, W, C]` in [0, 1].
    """
    contrast_first = ranks[:, 1] < ranks[:, 0]
    lights_before = tf.cast(ranks[:, tf.newaxis, :2] < ranks[:, 2:, tf.newaxis], tf.int32)
    place = tf.reduce_sum(lights_before, axis=-1)  # [B,2] of saturation and hue: 0, 1, 2
    planes = tf.transpose(images, [3, 0, 1, 2])
    for stage in range(3):
        turn = tf.where(place[:, 1] == stage, hue, 0.0)
        planes = _adjust_colour(planes, turn, tf.where(place[:, 0] == stage, saturation, 1.0))
        if stage < 2:
            planes = _adjust_light(planes, contrast_first == (stage == 0), brightness, contrast)
    return tf.transpose(planes, [1, 2, 3, 0])


def hue_chroma_value(planes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Splits colours into coordinates that do not depend on the light's colour.

    Args:
        planes: `[3, B, H, W]` red, green, blue.

    Returns:
        Three times `[B, H, W]`: hue in sixths of a turn, in [-1, 5]; chroma, which is saturation times value; value.

    Reference: Smith 1978, "Color gamut transform pairs".
    """
    red, green, blue = tf.unstack(planes)
    value = tf.maximum(tf.maximum(red, green), blue)
    chroma = value - tf.minimum(tf.minimum(red, green), blue)
    scale = 1.0 / tf.where(chroma > 0, chroma, 1.0)
    from_green, from_blue = 2.0 + (blue - red) * scale, 4.0 + (red - green) * scale
    hue = tf.where(red >= value, (green - blue) * scale, tf.where(green >= value, from_green, from_blue))
    return hue, chroma, value


def _adjust_colour(planes: tf.Tensor, hue_delta: tf.Tensor, saturation_factor: tf.Tensor) -> tf.Tensor:
    """Turns hues and scales saturations at the same value: `[C, B, H, W]`; what has no colours stays as it is."""
    if planes.shape[0] != 3:
        return planes
    hue, chroma, value = hue_chroma_value(planes)
    hue += 6.0 * hue_delta[:, tf.newaxis, tf.newaxis]
    hue -= 6.0 * tf.floor(hue * (1.0 / 6.0))
    chroma = tf.minimum(chroma * saturation_factor[:, tf.newaxis, tf.newaxis], value)
    shares = tf.abs(hue - 3.0) - 1.0, 2.0 - tf.abs(hue - 2.0), 2.0 - tf.abs(hue - 4.0)
    darkest = value - chroma
    return tf.stack([darkest + chroma * tf.clip_by_value(share, 0.0, 1.0) for share in shares])


def _adjust_light(planes: tf.Tensor, is_contrast: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor) -> tf.Tensor:
    """The contrast where chosen, else the brightness, as a scale and an offset per plane, clipped: `[C, B, H, W]`."""
    means = tf.reduce_mean(planes, axis=[2, 3])  # [C,B]
    scale = tf.where(is_contrast, contrast, 1.0)
    offset = tf.where(is_contrast, means * (1.0 - contrast), brightness)
    return tf.clip_by_value(planes * scale[:, tf.newaxis, tf.newaxis] + offset[..., tf.newaxis, tf.newaxis], 0.0, 1.0)


def _blur_matrix(sigma: tf.Tensor, extent: int, radius: int) -> tf.Tensor:
    """`[B, extent, extent]` symmetric bands, one row per output pixel."""
    place = tf.range(extent, dtype=tf.float32)
    distance = tf.abs(place[:, tf.newaxis] - place)
    taps = tf.range(-radius, radius + 1, dtype=tf.float32)
    exponent = (-0.5 / tf.square(sigma))[:, tf.newaxis]
    total = tf.reduce_sum(tf.exp(exponent * tf.square(taps)), axis=-1)  # [B]
    weights = tf.exp(exponent[..., tf.newaxis] * tf.square(distance)) / total[:, tf.newaxis, tf.newaxis]
    return tf.where(distance <= radius, weights, 0.0)


def _per_image(strength: tf.Tensor) -> tf.Tensor:
    return strength[:, tf.newaxis, tf.newaxis, tf.newaxis]
