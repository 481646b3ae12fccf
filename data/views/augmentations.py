"""Photometric operations on batches of images, each image with its own strengths.

The operations are deterministic functions of their strengths, and equal those of the official code
(tests/goldens/image_ops.md). Images are `[B, H, W, C]` float32. Three channels are red, green and blue; images with another
number of channels have no hue and no saturation, and brightness and contrast change each channel separately.

Reference: Grill et al. 2020, arXiv 2006.07733, appendix B; Mitrovic et al. 2021, arXiv 2010.07922, on which
Bošnjak et al. 2023, arXiv 2301.05158, is built.
"""

import tensorflow as tf

_LUMA = (0.2989, 0.5870, 0.1140)


def adjust_brightness(images: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Adds `delta` `[B]` to the images, without clipping."""
    return images + _per_image(delta)


def adjust_contrast(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales each channel's deviation from its mean by `factor` `[B]`, without clipping."""
    means = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    return means + _per_image(factor) * (images - means)


def adjust_saturation(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales the HSV saturation by `factor` `[B]`, up to full saturation."""
    planes = _adjust_colour(tf.transpose(images, [3, 0, 1, 2]), tf.zeros_like(factor), factor)
    return tf.transpose(planes, [1, 2, 3, 0])


def adjust_hue(images: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Shifts the hue by `delta` `[B]`, in turns of the colour wheel."""
    planes = _adjust_colour(tf.transpose(images, [3, 0, 1, 2]), delta, tf.ones_like(delta))
    return tf.transpose(planes, [1, 2, 3, 0])


def to_grayscale(images: tf.Tensor) -> tf.Tensor:
    """Replaces RGB by the luma (ITU-R BT.601) in three equal channels; other numbers of channels are returned unchanged."""
    if images.shape[-1] != 3:
        return images
    red, green, blue = tf.unstack(images, axis=-1)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return tf.stack([luma, luma, luma], axis=-1)


def solarize(images: tf.Tensor, threshold: float = 0.5) -> tf.Tensor:
    """Inverts the values at or above the threshold."""
    return tf.where(images < threshold, images, 1.0 - images)


def gaussian_blur(images: tf.Tensor, sigma: tf.Tensor, *, kernel_size: int) -> tf.Tensor:
    """Blurs each image with its own standard deviation, with black outside the image.

    The two passes are matrix products with a banded matrix per image, since a convolution has one kernel for all.

    Args:
        images: `[B, H, W, C]`.
        sigma: `[B]` standard deviations in pixels; positive.
        kernel_size: Number of taps of the kernel; an even number is increased by one, as in the official code.

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

    Saturation and hue act on different coordinates, so their order does not matter unless another adjustment lies between them.
    Any order is therefore a selection from five stages: colour, light, colour, light, colour. A colour stage adjusts the
    saturation, the hue, both or neither; a light stage adjusts the brightness or the contrast. All 24 orders thus need three
    conversions of the colours and no branches.

    Args:
        images: `[B, H, W, C]` in [0, 1].
        brightness: `[B]` summands of the brightness.
        contrast: `[B]` factors of the contrast.
        saturation: `[B]` factors of the saturation.
        hue: `[B]` summands of the hue, in turns.
        ranks: `[B, 4]` sort keys of brightness, contrast, saturation and hue; the smallest is applied first.

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
    """Shifts hues and scales saturations of `[C, B, H, W]`, at constant HSV value; unchanged unless C is 3."""
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
    """Adjusts the contrast of the chosen images and the brightness of the others, and clips: `[C, B, H, W]`."""
    means = tf.reduce_mean(planes, axis=[2, 3])  # [C,B]
    scale = tf.where(is_contrast, contrast, 1.0)
    offset = tf.where(is_contrast, means * (1.0 - contrast), brightness)
    return tf.clip_by_value(planes * scale[:, tf.newaxis, tf.newaxis] + offset[..., tf.newaxis, tf.newaxis], 0.0, 1.0)


def _blur_matrix(sigma: tf.Tensor, extent: int, radius: int) -> tf.Tensor:
    """Returns symmetric banded matrices `[B, extent, extent]`, one row per output pixel."""
    place = tf.range(extent, dtype=tf.float32)
    distance = tf.abs(place[:, tf.newaxis] - place)
    taps = tf.range(-radius, radius + 1, dtype=tf.float32)
    exponent = (-0.5 / tf.square(sigma))[:, tf.newaxis]
    total = tf.reduce_sum(tf.exp(exponent * tf.square(taps)), axis=-1)  # [B]
    weights = tf.exp(exponent[..., tf.newaxis] * tf.square(distance)) / total[:, tf.newaxis, tf.newaxis]
    return tf.where(distance <= radius, weights, 0.0)


def _per_image(strength: tf.Tensor) -> tf.Tensor:
    return strength[:, tf.newaxis, tf.newaxis, tf.newaxis]
