"""Tests of the flags that semppl.doctor.examine suggests."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.data.images import ImageSet, Source
from semppl.doctor import examine
from semppl.tests import testing  # noqa: F401 (before TensorFlow runs anything)


def _suggest(count, *, channels=3, gpu=False, median=300, labelled=20):
    images = ImageSet(np.zeros((count, 1, 1, channels), np.uint8), np.zeros(count, np.int32))
    folders = [{"flag": "data", "shorter_side": {"median": median}}] if median else []
    report = {"folders": folders, "parts": {"labelled": labelled}}
    with mock.patch.object(tf.config, "list_physical_devices", return_value=["GPU:0"] if gpu else []):
        return examine._suggestions(report, Source(images, None, ("a",)))


class SuggestionsTest(parameterized.TestCase):
    @parameterized.parameters(
        (600, {}, "own_pictures_cpu", "128"),
        (600, {"median": 90}, "own_pictures_cpu", "64"),
        (1_999, {"gpu": True}, "own_pictures_cpu", "224"),
        (2_000, {"gpu": True}, "own_pictures_finetune", "224"),
        (600, {"channels": 1}, "own_pictures_from_scratch_cpu", "48"),
        (5_000, {"channels": 1, "gpu": True}, "own_pictures_from_scratch_cpu", "224"),
    )
    def test_the_preset_suits_pictures_and_devices(self, count, case, preset, size):
        suggested = _suggest(count, **case)
        self.assertEqual(suggested["preset"], preset)
        self.assertEqual(suggested["large_size"], size)
        self.assertNotIn("cached_views", suggested)

    def test_fewer_views_of_many_pictures_are_cached(self):
        self.assertEqual(_suggest(20_000)["cached_views"], "5")
        self.assertNotIn("cached_views", _suggest(20_000, gpu=True))

    def test_a_data_set_that_is_no_folder_gets_no_preset(self):
        self.assertNotIn("preset", _suggest(600, median=0))


if __name__ == "__main__":
    tf.test.main()
