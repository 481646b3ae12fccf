"""Tests of semppl.data.thumbnails."""

import base64
import io

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from semppl.data import thumbnails
from semppl.data.images import ImageSet


def _decoded(url):
    kind, _, content = url.partition(",")
    return kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


class ThumbnailsTest(parameterized.TestCase):
    @parameterized.parameters((1, "png"), (3, "jpeg"), (4, "jpeg"), (2, "png"))
    def test_the_longer_side_is_scaled_and_the_format_fits(self, channels, expected):
        images = ImageSet(np.full([2, 20, 40, channels], 200, np.uint8), np.zeros(2, np.int32))
        (url,) = thumbnails.thumbnail_urls(images, np.array([1]), side=10)
        kind, pixels = _decoded(url)
        self.assertEqual(kind, f"data:image/{expected};base64")
        self.assertEqual(pixels.shape[:2], (5, 10))
        np.testing.assert_allclose(pixels, 200, atol=2)

    def test_a_sprite_has_the_pictures_row_by_row(self):
        levels = np.array([10, 100, 200], np.uint8)
        images = ImageSet(np.tile(levels[:, None, None, None], [1, 8, 8, 1]), np.zeros(3, np.int32))
        _, pixels = _decoded(thumbnails.sprite_url(images, np.array([2, 0, 1]), side=8, columns=2))
        self.assertEqual(pixels.shape, (16, 16, 3))
        for row, column, level in ((0, 0, 200), (0, 1, 10), (1, 0, 100), (1, 1, 128)):
            place = pixels[8 * row + 2 : 8 * row + 6, 8 * column + 2 : 8 * column + 6]
            np.testing.assert_allclose(place, level, atol=3)


if __name__ == "__main__":
    absltest.main()
