"""Tests of semppl.benchmarks.input.decoding."""

import contextlib
import io
import os
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image

from semppl.benchmarks.input import decoding
from semppl.data.splits import load_splits
from semppl.tests import testing


class DecodingTest(tf.test.TestCase):
    @testing.slow
    def test_both_read_the_same_pictures_and_one_makes_six_views_of_each(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        for number in range(3):
            pixels = np.full((40 + number, 50, 3), 40 * number, np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpg")
        self.enter_context(mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder / "user")}))
        self.enter_context(contextlib.redirect_stderr(io.StringIO()))
        settings = decoding.settings(data=f"folder:{folder}", batch_size=2, large_size=16, small_size=8, steps=2)
        pictures = load_splits(settings).train
        sizes = np.concatenate(list(decoding.decoded(pictures, 4).as_numpy_iterator()))
        self.assertAllEqual(sizes, [[40, 50, 3], [41, 50, 3], [42, 50, 3], [40, 50, 3]])
        (batch,) = decoding.views(pictures, settings, 1).as_numpy_iterator()
        self.assertEqual((batch["large"].shape, batch["small"].shape), ((4, 2, 16, 16, 3), (2, 2, 8, 8, 3)))


if __name__ == "__main__":
    assert testing
    tf.test.main()
