"""Geometric operations on batches of images, each image with its own parameters."""

import math

import tensorflow as tf


def affine_matrices(*, shift: tf.Tensor, zoom: tf.Tensor, rotation: tf.Tensor, shear: tf.Tensor) -> tf.Tensor:
    """Composes the map from a point of the output to the point of the input that is shown there.

    Points are measured from the image's centre in shares of its size, `(x, y)`, y downwards.

    Args:
        shift: `[B, 2]` shift of the content to the right and downwards.
        zoom: `[B]` magnification of the content; positive.
        rotation: `[B]` clockwise rotation of the content, in radians.
        shear: `[B]` horizontal shear of the content, in x per y.

    Returns:
        `[B, 2, 3]` matrices. The linear part has a positive determinant: nothing is mirrored.
    """
    cosine, sine = tf.cos(rotation) / zoom, tf.sin(rotation) / zoom
    x_row = tf.stack([cosine - shear * -sine, sine - shear * cosine], axis=-1)
    y_row = tf.stack([-sine, cosine], axis=-1)
    linear = tf.stack([x_row, y_row], axis=-2)  # [B,2,2]
    offset = -tf.linalg.matvec(linear, shift)
    return tf.concat([linear, offset[..., tf.newaxis]], axis=-1)


def affine(images: tf.Tensor, matrices: tf.Tensor, size: int) -> tf.Tensor:
    """Samples images bilinearly at transformed points, with black outside the image.

    `tfa.image.transform` and its successor `tf.raw_ops.ImageProjectiveTransformV3` do the same on the CPU (the tests
    compare with them), but have no XLA kernel, so they would bind the augmentation to the host.

    Args:
        images: `[B, H, W, C]`.
        matrices: `[B, 2, 3]` maps from output to input, as `affine_matrices` returns them.
        size: Height and width of the result, in pixels.

    Returns:
        `[B, size, size, C]`.
    """
    height, width, channels = images.shape[1:]
    row, column = _places(matrices, size, height, width)
    pixels = tf.reshape(images, [-1, height * width, channels])
    corners = [_weighted_corner(pixels, row, column, down, right, height, width) for down in (0, 1) for right in (0, 1)]
    return tf.reshape(tf.add_n(corners), [-1, size, size, channels])


def affine_nearest(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """Takes the nearest pixel at transformed points, with black outside the image, as Pillow does by default.

    Args:
        images: `[B, S, S, C]`.
        matrices: `[B, 2, 3]` maps from output to input, as `affine_matrices` returns them.

    Returns:
        `[B, S, S, C]`.
    """
    size, channels = images.shape[2:]
    row, column = (tf.floor(place + 0.5) for place in _places(matrices, size, size, size))
    inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
    index = tf.cast(tf.where(inside, row * size + column, 0.0), tf.int32)  # [B,P]
    pixels = tf.gather(tf.reshape(images, [-1, size * size, channels]), index, batch_dims=1)
    return tf.reshape(tf.where(inside[..., tf.newaxis], pixels, 0.0), [-1, size, size, channels])


def shift_reflected(images: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Shifts images by whole pixels, with reflection padding at the border pixels.

    Args:
        images: `[B, H, W, C]`.
        offsets: `[B, 2]` int32, in pixels, smaller than H and W: the pixel `(row, column)` of the image that moves to the
            upper left corner.

    Returns:
        `[B, H, W, C]`.
    """
    for axis in (1, 2):
        extent = images.shape[axis]
        place = tf.abs(tf.range(extent) + offsets[:, axis - 1 : axis])  # [B,extent]
        index = extent - 1 - tf.abs(extent - 1 - place)
        images = tf.gather(images, index, axis=axis, batch_dims=1)
    return images


def _places(matrices: tf.Tensor, size: int, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the row and the column of the input that each pixel of a square output shows: `[B, P]` each."""
    centres = (tf.range(size, dtype=tf.float32) + 0.5) / size - 0.5
    y, x = tf.meshgrid(centres, centres, indexing="ij")
    points = tf.stack([tf.reshape(x, [-1]), tf.reshape(y, [-1]), tf.ones([size * size])])  # [3,P]
    places = tf.linalg.matmul(matrices, tf.broadcast_to(points, [tf.shape(matrices)[0], 3, size * size]))  # [B,2,P]
    return (places[:, 1] + 0.5) * height - 0.5, (places[:, 0] + 0.5) * width - 0.5


def _weighted_corner(
    pixels: tf.Tensor, row: tf.Tensor, column: tf.Tensor, down: int, right: int, height: int, width: int
) -> tf.Tensor:
    """Returns one of the four pixels around each point, times its bilinear weight: `[B, P, C]`."""
    near_row, near_column = tf.floor(row) + down, tf.floor(column) + right
    inside = (near_row >= 0) & (near_row < height) & (near_column >= 0) & (near_column < width)
    weight = (1.0 - tf.abs(row - near_row)) * (1.0 - tf.abs(column - near_column))
    index = tf.cast(tf.where(inside, near_row * width + near_column, 0.0), tf.int32)
    return tf.gather(pixels, index, batch_dims=1) * tf.where(inside, weight, 0.0)[..., tf.newaxis]


def crop_boxes(
    draws: tf.Tensor,
    *,
    height: tf.Tensor | int,
    width: tf.Tensor | int,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> tf.Tensor:
    """Draws a box in each image, of random area and aspect ratio, clipped to the height and width of the image.

    Args:
        draws: `[B, 4]` uniform in [0, 1), for area, aspect, top and left.
        height: Height of the images, in pixels.
        width: Width of the images, in pixels.
        area: Range of the box's share of the image before clipping, drawn uniformly.
        aspect: Range of width over height, positive, drawn log-uniformly.

    Returns:
        `[B, 4]` float32 with integer values: top, left, height, width, in pixels.

    Reference: the official code of SemPPL and BYOL, `_decode_and_random_crop`.
    """
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    surface = height * width * (area[0] + (area[1] - area[0]) * draws[:, 0])
    ratio = tf.exp(math.log(aspect[0]) + math.log(aspect[1] / aspect[0]) * draws[:, 1])
    heights = tf.clip_by_value(tf.round(tf.sqrt(surface / ratio)), 1, height)
    widths = tf.clip_by_value(tf.round(tf.sqrt(surface * ratio)), 1, width)
    tops = tf.floor(draws[:, 2] * (height - heights + 1))
    lefts = tf.floor(draws[:, 3] * (width - widths + 1))
    return tf.stack([tops, lefts, heights, widths], axis=-1)


def crop_and_resize(images: tf.Tensor, boxes: tf.Tensor, size: int, *, mirrored: tf.Tensor | None = None) -> tf.Tensor:
    """Cuts a box out of each image and resizes it bicubically, as `tf.image.resize(..., "bicubic")` resizes the box.

    Rows and columns are multiplied by a matrix of weights per image, which needs only static shapes and no gather.

    Args:
        images: `[B, H, W, C]`.
        boxes: `[B, 4]` top, left, height, width, in whole pixels.
        size: Height and width of the result, in pixels.
        mirrored: `[B]` bool, whether a result is flipped from left to right; None: never.

    Returns:
        `[B, size, size, C]`, unclipped: bicubic weights overshoot.

    Reference: Keys 1981, "Cubic convolution interpolation for digital image processing", a = -0.5.
    """
    rows = _cubic_weights(boxes[:, 0], boxes[:, 2], size, images.shape[1])  # [B,size,H]
    columns = _cubic_weights(boxes[:, 1], boxes[:, 3], size, images.shape[2])  # [B,size,W]
    if mirrored is not None:
        columns = tf.where(mirrored[:, tf.newaxis, tf.newaxis], tf.reverse(columns, axis=[1]), columns)
    height, width, channels = images.shape[1:]
    lines = tf.reshape(tf.transpose(images, [0, 1, 3, 2]), [-1, height * channels, width])
    narrowed = tf.reshape(tf.matmul(lines, columns, transpose_b=True), [-1, height, channels * size])
    resized = tf.reshape(tf.matmul(rows, narrowed), [-1, size, channels, size])
    return tf.transpose(resized, [0, 1, 3, 2])


def _cubic_weights(start: tf.Tensor, length: tf.Tensor, size: int, extent: int) -> tf.Tensor:
    """Returns the weights of input pixels for each output pixel, `[B, size, extent]`; 0 outside the box, rows sum to 1."""
    place = (tf.range(size, dtype=tf.float32) + 0.5) * (length / size)[:, tf.newaxis] - 0.5  # [B,size], inside the box
    whole = tf.floor(place)
    # TensorFlow's kernel looks the fraction up in a table of 1024 steps.
    place = whole + tf.round((place - whole) * 1024.0) / 1024.0
    pixel = (tf.range(extent, dtype=tf.float32) - start[:, tf.newaxis])[:, tf.newaxis]  # [B,1,extent]
    distance = tf.abs(pixel - place[..., tf.newaxis])
    near = (1.5 * distance - 2.5) * distance * distance + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    weights = tf.where(distance < 1, near, tf.where(distance < 2, far, 0.0))
    weights = tf.where((pixel >= 0) & (pixel < length[:, tf.newaxis, tf.newaxis]), weights, 0.0)
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)
