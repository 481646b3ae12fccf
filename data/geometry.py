"""Geometric operations on batches of images, each image with its own parameters."""

import tensorflow as tf


def affine_matrices(*, shift: tf.Tensor, zoom: tf.Tensor, rotation: tf.Tensor, shear: tf.Tensor) -> tf.Tensor:
    """Composes the map from a point of the output to the point of the input that is shown there.

    Points are measured from the image's centre in shares of its size, `(x, y)`, y downwards.

    Args:
        shift: `[B, 2]` by how much the content moves right and down.
        zoom: `[B]` by how much the content grows; positive.
        rotation: `[B]` by how much it turns clockwise, in radians.
        shear: `[B]` by how much it leans, in x per y.

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
    """Samples images bilinearly at transformed places, with black outside.

    `tfa.image.transform` and its successor `tf.raw_ops.ImageProjectiveTransformV3` do the same on the CPU (the tests
    compare with them), but have no XLA kernel, so they would bind the augmentation to the host.

    Args:
        images: `[B, H, W, C]`.
        matrices: `[B, 2, 3]` as `affine_matrices` gives them.
        size: height and width of the result.

    Returns:
        `[B, size, size, C]`.
    """
    height, width, channels = images.shape[1:]
    centres = (tf.range(size, dtype=tf.float32) + 0.5) / size - 0.5
    y, x = tf.meshgrid(centres, centres, indexing="ij")
    points = tf.stack([tf.reshape(x, [-1]), tf.reshape(y, [-1]), tf.ones([size * size])])  # [3,P]
    places = tf.linalg.matmul(matrices, tf.broadcast_to(points, [tf.shape(images)[0], 3, size * size]))  # [B,2,P]
    column, row = (places[:, 0] + 0.5) * width - 0.5, (places[:, 1] + 0.5) * height - 0.5
    pixels = tf.reshape(images, [-1, height * width, channels])
    corners = [_weighted_corner(pixels, row, column, down, right, height, width) for down in (0, 1) for right in (0, 1)]
    return tf.reshape(tf.add_n(corners), [-1, size, size, channels])


def _weighted_corner(
    pixels: tf.Tensor, row: tf.Tensor, column: tf.Tensor, down: int, right: int, height: int, width: int
) -> tf.Tensor:
    """One of the four neighbours of each place, times its bilinear weight: `[B, P, C]`."""
    near_row, near_column = tf.floor(row) + down, tf.floor(column) + right
    inside = (near_row >= 0) & (near_row < height) & (near_column >= 0) & (near_column < width)
    weight = (1.0 - tf.abs(row - near_row)) * (1.0 - tf.abs(column - near_column))
    index = tf.cast(tf.where(inside, near_row * width + near_column, 0.0), tf.int32)
    return tf.gather(pixels, index, batch_dims=1) * tf.where(inside, weight, 0.0)[..., tf.newaxis]
