"""Tests of semppl.runs.imagenet, without a network."""

import contextlib
import io
import pathlib
import threading
import time
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from semppl.runs import imagenet
from semppl.tests import testing

_FILE = "mobilenet_1_0_224_tf_no_top.h5"


class ImagenetFileTest(tf.test.TestCase, parameterized.TestCase):
    def _refused(self, get_file, reason):
        home = mock.patch.object(pathlib.Path, "home", return_value=pathlib.Path(self.get_temp_dir()))
        folder = pathlib.Path(self.get_temp_dir()) / ".keras" / "models"
        message = rf"^--initial_weights must be a file, or imagenet where https.*/{_FILE} can be downloaded: without a network, "
        refused = self.assertRaisesRegex(
            ValueError, rf"{message}put that file at {folder}/{_FILE}\. Received: .*{reason}"
        )
        with home, mock.patch.object(tf.keras.utils, "get_file", get_file), refused:
            imagenet.imagenet_file("keras:MobileNet", size=224, flag="initial_weights")

    def test_a_download_that_fails_names_the_file_and_its_place(self):
        def fail(*args, **options):
            raise Exception("URL fetch failure: no such host\nmore")

        fail.__module__ = tf.keras.utils.get_file.__module__
        self._refused(fail, r"\(URL fetch failure: no such host\)$")

    def test_a_download_that_hangs_ends_soon(self):
        released = threading.Event()

        def hang(*args, **options):
            released.wait(60)

        hang.__module__ = tf.keras.utils.get_file.__module__
        self.addCleanup(released.set)
        start = time.monotonic()
        with mock.patch.object(imagenet, "_SECONDS_OF_SILENCE", 0.3):
            self._refused(hang, r"\(no answer for 0.3 s\)$")
        self.assertLess(time.monotonic() - start, 20)
        self.assertLessEqual(imagenet._SECONDS_OF_SILENCE, 20)  # a network that is built first, and 30 s in all

    def test_a_download_has_a_line_of_ours_and_none_of_keras(self):
        origin = pathlib.Path(self.get_temp_dir()) / "origin.h5"
        origin.write_bytes(bytes(9_400_000))
        cache = pathlib.Path(self.get_temp_dir()) / "cache"
        (cache / ".keras").mkdir(parents=True)
        wanted = imagenet._Wanted(
            "w.h5", origin.as_uri(), {"cache_subdir": "models", "cache_dir": str(cache / ".keras")}
        )
        said, printed = io.StringIO(), io.StringIO()
        with (
            mock.patch.object(imagenet, "_wanted", return_value=wanted),
            mock.patch.object(pathlib.Path, "home", return_value=cache),
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(printed),
        ):
            for _ in range(2):  # the second finds the file
                path = imagenet.imagenet_file("keras:MobileNet", size=224, flag="initial_weights")
        self.assertEqual(said.getvalue(), f"downloading the weights of keras:MobileNet …\ndownloaded 9 MB: {path}\n")
        self.assertEqual(printed.getvalue(), "")

    def test_a_download_that_grows_is_waited_for(self):
        path = pathlib.Path(self.get_temp_dir()) / "growing"

        def grow():
            for size in range(1, 8):
                path.write_bytes(bytes(size))
                time.sleep(0.2)
            return "whole"

        with mock.patch.object(imagenet, "_SECONDS_OF_SILENCE", 0.6):
            self.assertEqual(imagenet._watched(grow, path), "whole")

    @parameterized.parameters("MobileNet", "ResNet50V2", "VGG16")
    def test_keras_own_cache_and_download_are_asked(self, network):
        asked = []

        def get_file(name, origin, **options):
            asked.append((name, origin, options))
            return f"/cache/{name}"

        original = tf.keras.utils.get_file
        get_file.__module__ = original.__module__
        with mock.patch.object(tf.keras.utils, "get_file", get_file):
            path = imagenet.imagenet_file(f"keras:{network}", size=224, flag="initial_weights")
        ((name, origin, options),) = asked
        self.assertEqual(path, pathlib.Path("/cache") / name)
        self.assertTrue(origin.startswith("https://") and origin.endswith(".h5"))
        self.assertIn("notop" if network != "MobileNet" else "no_top", name)
        self.assertEqual(options["cache_subdir"], "models")
        self.assertIs(tf.keras.utils.get_file, original)


if __name__ == "__main__":
    assert testing
    tf.test.main()
