"""A folder of pictures, all the way: pretrained with its preset, stopped, resumed, evaluated, exported and served."""

import contextlib
import io
import json
import os
import pathlib
import signal
from unittest import mock

import numpy as np
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from semppl import configs
from semppl.data import pipeline
from semppl.data.files.lost_pictures import PictureLost
from semppl.evaluation.evaluate import evaluate
from semppl.export.export_model import export
from semppl.layers.inputs.preparation import inference_preparation
from semppl.runs import checkpoints
from semppl.tests import testing
from semppl.trainers import pretrain as pretrain_module
from semppl.trainers.devices.termination import Termination
from semppl.trainers.pretrain import hyperparameters_from_flags, pretrain
from semppl.trainers.pretrained import cached_features
from semppl.trainers.reports import callbacks
from semppl.trainers.run_options import RunOptions

_PRESET = pathlib.Path(configs.__file__).parent / "own_pictures_from_scratch_cpu.flags"
_SMALL = (
    "--shrink=40",
    "--encoder=convnet_stride2",
    "--large_size=32",
    "--width=0.125",
    "--head_width=32",
    "--embedding_width=16",
    "--batch_size=16",
    "--labelled_batch_size=4",
    "--negatives=10",
    "--queue_size=32",
    "--steps=6",
    "--warmup_steps=1",
)


def _picture(label, number):
    """A photograph of a kind: a bright shape on noise, of a size of its own."""
    rng = np.random.default_rng(100 * label + number)
    height, width = rng.integers(36, 90, 2)
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, np.newaxis, np.newaxis] - 0.5
    shape = x**2 + y**2 < 0.1 if label else np.sin(40 * x) > 0
    return (rng.uniform(0, 120, (height, width, 3)) + 120 * shape[..., np.newaxis]).astype(np.uint8)


class OwnPicturesTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enter_context(mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(self.folder / "user")}))
        self.enter_context(contextlib.redirect_stderr(io.StringIO()))
        self.enter_context(contextlib.redirect_stdout(io.StringIO()))
        for split, count in (("train", 20), ("test", 6)):
            for label, name in enumerate(("stripes", "disc")):
                (self.folder / split / name).mkdir(parents=True)
                for number in range(count):
                    picture = Image.fromarray(_picture(label, number + (1000 if split == "test" else 0)))
                    picture.save(self.folder / split / name / f"{number}.{('jpg', 'png', 'webp')[number % 3]}")
        (self.folder / "train" / "broken.jpg").write_bytes(b"no picture")
        first = ("0.jpg", "1.png", "2.webp")
        rows = [f"{name}/{file},{name}" for name in ("disc", "stripes") for file in first]
        (self.folder / "train" / "labels.csv").write_text("\ufeffpath,label\r\n" + "\r\n".join(rows), encoding="utf-8")

    def settings(self, *more):
        data = f"--data=folder:{self.folder}/train?labels=labels.csv"
        test = f"--test=folder:{self.folder}/test?labels=folders"
        with flagsaver.flagsaver():
            flags.FLAGS(
                ["x", f"--flagfile={_PRESET}", *_SMALL, data, test, "--max_bad_fraction=0.05", "--workdir=-", *more]
            )
            return hyperparameters_from_flags()

    @testing.slow
    def test_a_folder_is_trained_on_stopped_resumed_evaluated_and_exported(self):
        settings = self.settings()
        pretrain(settings, self.folder / "whole", RunOptions(strategy="default"))

        cached = self.settings(f"--cache_dir={self.folder}/cache")  # which changes no number
        asked = Termination()
        asked.signal = signal.SIGTERM
        with self.assertRaises(callbacks.Terminated):
            pretrain(cached, self.folder / "stopped", RunOptions(strategy="default"), termination=asked)
        pretrain(cached, self.folder / "stopped", RunOptions(strategy="default"))
        done = [json.loads((self.folder / run / "done.json").read_text()) for run in ("whole", "stopped")]
        self.assertEqual(*done)

        metrics = evaluate(self.folder / "stopped")["accuracy"]
        self.assertEqual(set(metrics), {"raw_pixels", "features", "projections", "joint"})
        report = json.loads((self.folder / "stopped" / "metrics.json").read_text())
        self.assertEqual((report["test_images"], report["labelled"]), (12, 6))

        export(self.folder / "stopped", self.folder / "served" / "1")
        served = tf.saved_model.load(str(self.folder / "served" / "1")).signatures["embed_bytes"]
        picture = (self.folder / "test" / "disc" / "1.png").read_bytes()
        _, network, _ = checkpoints.load_online(self.folder / "stopped")
        pixels = tf.io.decode_png(picture)[tf.newaxis]
        expected = network.project(inference_preparation(32, centre_crop=7 / 8, shrink=40)(pixels))
        self.assertAllClose(served(bytes=[picture])["embedding"], expected, atol=1e-5)

    def test_a_full_disk_leaves_the_run_folder_as_it_was(self):
        settings = self.settings(f"--cache_dir={self.folder}/cache")
        full = OSError(28, "No space left on device")
        with (
            mock.patch.object(tf.io.TFRecordWriter, "write", side_effect=full),
            self.assertRaisesRegex(OSError, r"^--cache_dir must be .*No space left on device"),
        ):
            pretrain(settings, self.folder / "run", RunOptions(strategy="default"))
        self.assertFalse((self.folder / "run").exists())

    @testing.slow
    def test_heads_are_trained_on_features_that_two_runs_share(self):
        heads = ("--train=heads", "--cached_views=3", f"--cache_dir={self.folder}/cache")
        pretrain(self.settings(*heads), self.folder / "run", RunOptions(strategy="default"))
        (path,) = (self.folder / "cache").glob("features-*.float16")
        features = np.fromfile(path, np.float16).reshape(40, 3, -1)
        _, network, _ = checkpoints.load_online(self.folder / "run")
        picture = (self.folder / "train" / "disc" / "1.png").read_bytes()  # the second in the order of names
        pixels = tf.io.decode_png(picture, channels=3)[tf.newaxis]
        plain = network.encode(inference_preparation(32, centre_crop=7 / 8, shrink=40)(pixels))
        self.assertAllClose(np.abs(features[:, 0] - plain).sum(1).min(), 0, atol=1e-2)
        self.assertGreater(np.abs(features[:, 1] - features[:, 0]).max(), 1e-2)
        with mock.patch.object(cached_features.FeatureCache, "compute", side_effect=AssertionError):
            pretrain(
                self.settings(*heads, "--learning_rate=0.002"), self.folder / "other", RunOptions(strategy="default")
            )
        self.assertTrue((self.folder / "other" / "done.json").is_file())

    @testing.slow
    def test_the_labels_alone_are_a_baseline_on_the_same_folder(self):
        run = self.folder / "supervised"
        pretrain(self.settings("--method=supervised", "--labelled_batch_size=0"), run, RunOptions(strategy="default"))
        self.assertIn("classifier", evaluate(run)["accuracy"])

    def test_a_picture_that_is_deleted_under_way_ends_the_run_in_one_line_and_leaves_it_usable(self):
        lost, elsewhere = self.folder / "train" / "disc" / "3.jpg", self.folder / "3.jpg"

        def losing(*arguments):
            lost.rename(elsewhere)
            return pipeline.Pipeline(*arguments)

        with (
            mock.patch.object(pretrain_module, "Pipeline", losing),
            self.assertRaisesRegex(
                PictureLost, r"\A\S* must keep its pictures .* Received: disc/3.jpg: No such file[^\n]*\Z"
            ),
        ):
            pretrain(self.settings(), self.folder / "run", RunOptions(strategy="default"))
        elsewhere.rename(lost)
        pretrain(self.settings(), self.folder / "run", RunOptions(strategy="default"))
        self.assertTrue((self.folder / "run" / "done.json").is_file())


if __name__ == "__main__":
    tf.test.main()
