"""ImageNet presets really run: on generated JPEGs of many sizes, prepared as TFRecords by tensorflow-datasets itself."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl.testing import parameterized

import semppl
from semppl import configs
from semppl.tests import testing

CLASSES = ("disc", "square", "stripes")
FOLDER = pathlib.Path(configs.__file__).parent
# At full size, two images of ResNet-200 2x take 17 GB of memory.
_TWO_SMALL_IMAGES = ("--batch_size=2", "--labelled_batch_size=1", "--negatives=1", "--large_size=64", "--small_size=32")
SECONDS = 1500
"""How long a run may take on a machine that is busy."""


class SempplPictures(tfds.core.GeneratorBasedBuilder):
    """Generated photographs, stored as ImageNet is: encoded, of many sizes, with file names, test images unlabelled."""

    VERSION = tfds.core.Version("1.0.0")
    COUNTS = {"train": 60, "validation": 15, "test": 4}  # noqa: RUF012

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=CLASSES),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {name: self._generate_examples(name) for name in self.COUNTS}

    def _generate_examples(self, split):
        for index in range(self.COUNTS[split]):
            name, label = f"{split}_{index:03}.JPEG", index % 3
            row = {"image": _picture(index, label), "label": -1 if split == "test" else label, "file_name": name}
            yield name, row


def _picture(index, label):
    """A bright shape on noise, between 90 and 260 pixels a side."""
    rng = np.random.default_rng(index)
    height, width = rng.integers(90, 260, 2)
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, np.newaxis, np.newaxis] - 0.5
    shape = (x**2 + y**2 < 0.1, np.maximum(abs(x), abs(y)) < 0.3, np.sin(40 * x) > 0)[label]
    pixels = rng.uniform(0, 120, (height, width, 3)) + 120 * shape[..., np.newaxis] * rng.uniform(0.5, 1, 3)
    return pixels.astype(np.uint8)


def _prepare(folder):
    """Writes the records, several files a split, and a list of labelled images."""
    tfds.core.utils.gcs_utils._is_gcs_disabled = True
    with tf.device("CPU"):
        builder = SempplPictures(data_dir=folder)
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False, num_shards=3))
    (pathlib.Path(folder) / "labelled.txt").write_text("".join(f"train_{i:03}.JPEG\n" for i in range(12)))


class RunTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.data)
        _prepare(cls.data)

    def setUp(self):
        super().setUp()
        self.workdir = pathlib.Path(self.create_tempdir().full_path) / "run"

    def call(self, module, *arguments):
        """Runs a command; returns what it prints on both streams."""
        environment = os.environ | {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-m", f"semppl.{module}", f"--workdir={self.workdir}", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def pretrain(self, preset, *changes):
        return self.call(
            "trainers.pretrain",
            f"--flagfile={FOLDER / preset}",
            "--data=tfds:semppl_pictures",
            f"--data_dir={self.data}",
            f"--label_list={self.data}/labelled.txt",
            "--batch_size=12",
            "--labelled_batch_size=4",
            "--steps=2",
            "--warmup_steps=1",
            "--log_every=1",
            *changes,
        )

    def assertDone(self, steps=2):
        self.assertEqual(json.loads((self.workdir / "done.json").read_text())["step"], steps)
        lines = [json.loads(line) for line in (self.workdir / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([line["step"] for line in lines], list(range(1, steps + 1)))
        for line in lines:
            self.assertTrue(np.isfinite(list(line.values())).all())
            self.assertGreater(line["gradient_norm"], 0)
        return lines

    @testing.slow
    def test_a_preset_made_small_is_trained_evaluated_and_resumed(self):
        # A small encoder: those of the presets are traced in tests/configs, and run by the test below.
        small = ("--encoder=convnet_stride2", "--width=0.25", "--head_width=32", "--large_size=64", "--small_size=32")
        stdout, stderr = self.pretrain("imagenet_1_percent_resnet50.flags", *small)
        self.assertIn("60 images, 12 labelled, 3 classes", stdout)
        self.assertIn("reading the labels of 60 records in 3 files, once", stderr)
        lines = self.assertDone()
        self.assertGreater(lines[1]["queue/filled"], 0)

        stdout, stderr = self.call("evaluation.evaluate", "--evaluators=nearest_neighbours,logistic_regression")
        self.assertIn("colour histogram", stdout)
        self.assertNotIn("once", stderr)  # the labels have been kept
        report = json.loads((self.workdir / "metrics.json").read_text())
        self.assertEqual((report["test_images"], report["labelled"]), (15, 12))
        self.assertEqual(set(report["accuracy"]), {"raw_pixels", "features", "projections", "joint"})

        stdout, _ = self.pretrain("imagenet_1_percent_resnet50.flags", *small)
        self.assertIn("finished already", stdout)

    @parameterized.parameters(
        ("imagenet_1_percent_resnet50.flags",),
        ("imagenet_10_percent_resnet50.flags",),
        ("imagenet_1_percent_sk_resnet50.flags",),
        ("imagenet_10_percent_sk_resnet50.flags",),
        ("imagenet_1_percent_resnet200_2x.flags", *_TWO_SMALL_IMAGES),
        ("imagenet_10_percent_resnet200_2x.flags", *_TWO_SMALL_IMAGES),
    )
    @testing.slow
    def test_a_preset_runs_two_steps_of_a_small_batch(self, preset, *changes):
        self.pretrain(preset, *changes)
        self.assertDone()


if __name__ == "__main__":
    tf.test.main()
