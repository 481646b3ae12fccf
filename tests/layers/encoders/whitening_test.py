"""Tests of semppl.layers.encoders.whitening."""

import itertools

import numpy as np
import tensorflow as tf

from semppl.layers.encoders import whitening


def _images(count=6, side=9, channels=2):
    """Draws smooth images, whose neighbouring pixels and channels are alike."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, side + 2, side + 2, channels)).cumsum(axis=1).cumsum(axis=2)
    images += images[..., :1]
    return (images / images.std())[:, 2:, 2:].astype(np.float32)


def _patches(images):
    """Lists all 2×2 patches in plain loops: `[n, 4·C]`."""
    count, height, width, _ = images.shape
    return np.array(
        [
            [value for i, j in itertools.product(range(2), range(2)) for value in images[b, y + i, x + j]]
            for b, y, x in np.ndindex(count, height - 1, width - 1)
        ]
    )


class PatchWhiteningTest(tf.test.TestCase):
    def test_every_direction_has_the_variance_of_the_formula_and_none_goes_with_another(self):
        images, layer = _images(), whitening.PatchWhitening()
        layer(images)
        layer.fit(images)
        outputs = layer(images).numpy().reshape(-1, 16).astype(np.float64)
        values = np.linalg.eigvalsh(np.cov(_patches(images).astype(np.float64), rowvar=False, bias=True))[::-1]
        self.assertGreater(values[0] / values[-1], 100)  # the images are smooth
        self.assertAllClose(
            np.cov(outputs[:, :8], rowvar=False, bias=True), np.diag(values / (values + 5e-4)), atol=2e-4
        )

    def test_the_second_half_are_the_negatives(self):
        kernel = whitening.whitening_kernel(_images())
        self.assertEqual(kernel.shape, (2, 2, 2, 16))
        self.assertAllEqual(kernel[..., 8:], -kernel[..., :8])

    def test_the_signs_are_those_of_the_largest_entries(self):
        directions = whitening.whitening_kernel(_images()).reshape(8, 16)[:, :8]
        largest = directions[np.abs(directions).argmax(axis=0), np.arange(8)]
        self.assertAllGreater(largest, 0)

    def test_before_it_is_fitted_each_pixel_is_a_direction(self):
        images, layer = _images(count=1), whitening.PatchWhitening()
        outputs = layer(images).numpy().reshape(-1, 16)
        self.assertAllClose(outputs, np.concatenate([_patches(images), -_patches(images)], axis=1))

    def test_constant_images_are_finite(self):
        kernel = whitening.whitening_kernel(np.ones((2, 4, 4, 1), np.float32))
        self.assertAllClose(np.square(kernel.reshape(4, 8)[:, :4]).sum(axis=0), np.full(4, 1 / 5e-4), rtol=1e-5)


if __name__ == "__main__":
    tf.test.main()
