"""A fixed first layer that decorrelates the pixels of each patch."""

from typing import Any

import numpy as np
import tensorflow as tf

from semppl.layers.blocks.small_maps import Convolution

PATCH = 2
"""Side of a patch, in pixels."""

_EPSILON = 5e-4
"""Constant added to the variance along every direction; standardised pixels have a variance of about 1."""


@tf.keras.saving.register_keras_serializable(package="semppl")
class PatchWhitening(tf.keras.layers.Layer):
    """Projects every 2×2 patch onto principal components and their negatives, scaled to variance 1; nothing is trained.

    With both signs, no information is lost in a ReLU. Until `fit`, the directions are the pixels themselves.

    Reference: Page 2019, "How to train your ResNet 8: bag of tricks"; Jordan 2024, arXiv 2404.00498, section 3.1.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the kernel, `[2, 2, C, 8·C]`, which no gradient changes."""
        channels = input_shape[-1]
        size = PATCH * PATCH * channels
        self.convolution = Convolution(
            2 * size, PATCH, use_bias=False, trainable=False, kernel_initializer=_pixels, name="convolution"
        )
        self.convolution.build(input_shape)
        super().build(input_shape)

    def fit(self, images: np.ndarray) -> None:
        """Computes the directions from all patches of standardised images.

        Args:
            images: `[B, H, W, C]` images as the layer will see them.
        """
        self.convolution.kernel.assign(whitening_kernel(images))

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Maps images `[B, H, W, C]` to `[B, H − 1, W − 1, 8·C]`."""
        outputs: tf.Tensor = self.convolution(images)
        return outputs


def whitening_kernel(images: np.ndarray) -> np.ndarray:
    """Computes the directions of patches: eigenvectors e of their covariance over √(eigenvalue + 5e-4), then their negatives.

    Args:
        images: `[B, H, W, C]` images with sides of at least 2 pixels.

    Returns:
        float32 `[2, 2, C, 8·C]` kernel, by decreasing eigenvalue. The sign of an eigenvector makes its largest entry positive.
    """
    steps, sizes = [1, 1, 1, 1], [1, PATCH, PATCH, 1]
    patches = tf.image.extract_patches(images, sizes, steps, steps, "VALID").numpy()  # [B,H-1,W-1,4·C]
    patches = patches.reshape(-1, patches.shape[-1]).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(patches, rowvar=False, bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))])
    directions = vectors / np.sqrt(values + _EPSILON)
    both = np.concatenate([directions, -directions], axis=1)
    return both.reshape(PATCH, PATCH, images.shape[-1], -1).astype(np.float32)


def _pixels(shape: tuple[int, ...], dtype: Any = None, **_: Any) -> tf.Tensor:
    """Returns a kernel of every pixel of a patch and its negative, `[2, 2, C, 8·C]`."""
    identity = tf.eye(shape[-1] // 2, dtype=dtype)
    return tf.reshape(tf.concat([identity, -identity], axis=1), shape)
