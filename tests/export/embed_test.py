"""Tests of semppl.export.embed."""

import contextlib
import csv
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from absl.testing import flagsaver, parameterized
from PIL import Image

import semppl
from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.sources import load_source
from semppl.export import embed, export_model
from semppl.export.collections import embeddings
from semppl.export.collections.collection import open_collections
from semppl.programs import hyperparameter_flags  # noqa: F401  (defines --batch_size)
from semppl.tests import testing, tiny  # noqa: F401  (before TensorFlow runs anything)
from semppl.tests.export.random_runs import write_run

_PICTURES = 23


class EmbedTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        write_run(cls.run_folder / "run")
        cls.model = cls.run_folder / "1"
        export_model.export(cls.run_folder / "run", cls.model)

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.data, self.out = self.folder / "pictures", self.folder / "out"
        images = np.round(load_source("digits").test.images[:_PICTURES] * 255).astype(np.uint8)
        for number, image in enumerate(images):
            path = self.data / f"{number % 3}" / f"{number:02d} ü.PNG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(image).numpy() if number != 4 else b"rubbish")
        (self.data / "notes.txt").write_text("no picture")

    def _embed(self, data="", **settings):
        reading = {"data": data or f"folder:{self.data}"}
        return embed.embed(self.model, reading, self.out, **{"batch_size": 4, "shard_size": 10} | settings)

    def _rows(self, out=None):
        parts = sorted((out or self.out).glob("*.parquet"))
        return pa.concat_tables([pq.read_table(part) for part in parts])

    def test_there_is_a_row_for_every_picture_in_order_with_what_the_model_answers(self):
        self.assertEqual(self._embed(), (_PICTURES, 1))
        rows = self._rows()
        paths = rows["path"].to_pylist()
        self.assertEqual(paths, sorted(f"{number % 3}/{number:02d} ü.PNG" for number in range(_PICTURES)))
        self.assertEqual(rows["id"].to_pylist(), list(range(_PICTURES)))
        files = tf.constant([(self.data / path).read_bytes() for path in paths])
        expected = tf.saved_model.load(str(self.model)).signatures["serving_default"](bytes=files)
        self.assertEqual(set(rows.column_names), {"id", "path", "truth", *expected})
        self.assertAllClose(np.stack(rows["embedding"].to_numpy()), expected["embedding"], atol=1e-5)
        self.assertEqual(rows["class_name"].to_pylist(), [name.decode() for name in expected["class_name"].numpy()])
        for name in ("label", "probability", "ood", "valid", "abstain"):
            self.assertAllClose(rows[name].to_numpy(), expected[name], atol=1e-4)
        self.assertEqual(rows["valid"].to_pylist().count(False), 1)

    def _main(self, **values):
        """Runs the program; returns its exit code, its output and its errors."""
        output, errors = io.StringIO(), io.StringIO()
        values = {"model": str(self.model), "out": None, "predictions": None} | values
        self.enter_context(mock.patch.object(embed, "data_from_flags", return_value={"data": f"folder:{self.data}"}))
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), flagsaver.flagsaver(**values):
            code = embed.main(["embed"])
        return code, output.getvalue(), errors.getvalue()

    @parameterized.parameters(True, False)
    def test_predictions_are_a_row_of_text_per_picture(self, with_embeddings):
        file = self.folder / "predictions.csv"
        code, output, _ = self._main(predictions=str(file), out=str(self.out) if with_embeddings else None)
        told = f"predictions of {_PICTURES} pictures written to {file}; 1 of them could not be read"
        self.assertEqual((code, output.splitlines()[-1]), (0, told))
        self.assertEqual(self.out.exists(), with_embeddings)
        with file.open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        self.out = self.folder / "embeddings"
        self._embed()
        expected = self._rows().to_pylist()
        self.assertLen(rows, _PICTURES)
        for row, of_model in zip(rows, expected, strict=True):
            name = of_model["class_name"] if of_model["valid"] else ""
            self.assertEqual((row["path"], row["class"]), (of_model["path"], name))
            self.assertEqual(row["abstain"], "true" if of_model["abstain"] else "false")
            self.assertAlmostEqual(float(row["probability"]), of_model["probability"], delta=1e-3)

    @parameterized.parameters(
        ({}, "--out must be a folder, or --predictions a file. Received: neither"),
        ({"predictions": "none/p.csv"}, "--predictions must be a file in an existing folder. Received: none/p.csv"),
    )
    def test_where_nothing_can_be_written_is_told_first(self, values, message):
        code, _, errors = self._main(**values)
        self.assertEqual((code, errors), (2, f"error: {message}\n"))

    def test_an_engine_that_writes_nothing_is_named_and_the_folder_is_not_whole(self):
        class Idle:
            flag = "--engine=idle"

            def run(self, job, parts, say):
                """Writes nothing."""

        with self.assertRaisesRegex(ValueError, "^--engine=idle must write a row per picture. Received: 0 rows of 23"):
            self._embed(engine=Idle())
        self.assertEqual([path.name for path in self.out.iterdir()], ["_begun.json"])
        with self.assertRaisesRegex(ValueError, "--embeddings must be whole: run semppl.export.embed again"):
            embeddings.read_embeddings(self.out)

    @parameterized.parameters(
        ({"engine": "ray"}, "--engine=ray must come with an --out that all workers see. Received: no --out"),
        ({"out": "s3://a/b"}, "--predictions must come with an --out that is a local path. Received: s3://a/b"),
    )
    def test_predictions_need_a_folder_that_this_process_reads(self, values, message):
        code, _, errors = self._main(predictions="p.csv", **values)
        self.assertEqual((code, errors), (2, f"error: {message}\n"))

    def test_what_the_data_tell_is_kept_beside_what_the_model_answers(self):
        (self.data / "labels.csv").write_text("path,label\n1/01 ü.PNG,seven\n")
        self._embed(f"folder:{self.data}?labels=labels.csv")
        report = dict(zip(self._rows()["path"].to_pylist(), self._rows()["truth"].to_pylist(), strict=True))
        self.assertEqual({path: truth for path, truth in report.items() if truth}, {"1/01 ü.PNG": "seven"})

    def test_pictures_that_only_pillow_decodes_are_answered_as_their_pixels_are(self):
        pixels = np.round(load_source("digits").test.images[:3, ..., 0] * 255).astype(np.uint8)
        folder = self.folder / "kinds"
        folder.mkdir()
        for kind, image in zip(("webp", "gif", "tiff"), pixels, strict=True):
            Image.fromarray(image).save(folder / f"{kind}.{kind}", **({"lossless": True} if kind == "webp" else {}))
        self._embed(f"folder:{folder}")
        self.assertEqual(self._rows()["path"].to_pylist(), ["gif.gif", "tiff.tiff", "webp.webp"])
        files = tf.constant([tf.io.encode_png(image[..., np.newaxis]).numpy() for image in pixels[[1, 2, 0]]])
        expected = tf.saved_model.load(str(self.model)).signatures["serving_default"](bytes=files)
        self.assertAllClose(np.stack(self._rows()["embedding"].to_numpy()), expected["embedding"], atol=1e-5)
        self.assertTrue(all(self._rows()["valid"].to_pylist()))

    def test_images_in_memory_are_answered_as_files_of_their_pixels_are(self):
        counts = self._embed(f"folder:{self.data},digits", batch_size=500, shard_size=1000)
        self.assertEqual(counts, (_PICTURES + 1500, 1))
        rows = self._rows().slice(_PICTURES)
        source = load_source("digits")
        self.assertEqual(rows["id"].to_pylist(), list(range(_PICTURES, _PICTURES + 1500)))
        self.assertEqual(rows["truth"].to_pylist(), [source.class_names[label] for label in source.train.labels])
        images = np.round(source.train.images[:9] * 255).astype(np.uint8)
        files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
        expected = tf.saved_model.load(str(self.model)).signatures["serving_default"](bytes=files)
        self.assertAllClose(np.stack(rows["embedding"].to_numpy()[:9]), expected["embedding"], atol=1e-5)
        self.assertAllEqual(rows["label"].to_numpy()[:9], expected["label"])

    def test_images_of_another_kind_than_the_models_are_refused(self):
        settings = Hyperparameters(**tiny.settings(data="digits", pixel_mean=(0.5,) * 3, pixel_stddev=(0.5,) * 3))
        with self.assertRaisesRegex(
            ValueError, "--data must be images of 3 channels, as the model's. Received: digits"
        ):
            open_collections(settings)

    def test_files_hold_as_many_rows_as_they_should(self):
        report = []
        self._embed(say=lambda done, total: report.append((done, total)))
        self.assertEqual([pq.read_metadata(part).num_rows for part in sorted(self.out.glob("*.parquet"))], [10, 10, 3])
        self.assertEqual(report, [(done, _PICTURES) for done in (0, 4, 8, 10, 14, 18, 20, 23)])
        (self.out / "part-00001.parquet").unlink()
        report.clear()
        self._embed(say=lambda done, total: report.append((done, total)))
        self.assertEqual(report, [(done, _PICTURES) for done in (13, 17, 21, 23)])

    def test_what_is_there_is_not_made_again_and_what_is_missing_is(self):
        self._embed()
        whole = self._rows()
        (self.out / "part-00001.parquet").unlink()
        times = {path.name: path.stat().st_mtime_ns for path in self.out.iterdir()}
        self._embed()
        self.assertTrue(self._rows().equals(whole))
        again = {path.name: path.stat().st_mtime_ns for path in self.out.iterdir()}
        self.assertEqual({name: again[name] for name in times}, times)

    def test_killed_and_started_again_it_leaves_no_gap_and_no_duplicate(self):
        command = [sys.executable, "-m", "semppl.export.embed", f"--model={self.model}", f"--data=folder:{self.data}"]
        command += [f"--out={self.out}", "--batch_size=1", "--shard_size=3"]
        root = str(pathlib.Path(semppl.__file__).parents[1])
        killed = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root}, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 180
        while not list(self.out.glob("*.parquet")) and killed.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        killed.kill()
        killed.wait()
        self.assertNotEmpty(list(self.out.glob("*.parquet")))
        self._embed(batch_size=1, shard_size=3)
        self.assertEmpty(list(self.out.glob(".*")))
        rows = self._rows()
        shutil.rmtree(self.out)
        self._embed(batch_size=1, shard_size=3)
        self.assertEqual(rows["path"].to_pylist(), self._rows()["path"].to_pylist())
        self.assertAllClose(np.stack(rows["embedding"].to_numpy()), np.stack(self._rows()["embedding"].to_numpy()))

    def test_a_folder_that_another_command_began_is_refused(self):
        self._embed()
        with self.assertRaisesRegex(ValueError, "--out must be a new folder.*differs in --shard_size"):
            self._embed(shard_size=5)
        (self.data / "one more.jpg").touch()
        with self.assertRaisesRegex(
            ValueError, "differs in the number of pictures, the names or labels of the pictures"
        ):
            self._embed()
        card = json.loads((self.out / "_manifest.json").read_text())
        self.assertEqual(card["pictures"], _PICTURES)

    def test_a_folder_of_something_else_is_refused(self):
        before = sorted(self.model.iterdir())
        with self.assertRaisesRegex(ValueError, "--out must be a new folder.*with other files"):
            embed.embed(self.model, {"data": f"folder:{self.data}"}, self.model)
        self.assertEqual(sorted(self.model.iterdir()), before)

    def test_what_reads_a_folder_of_parquet_files_reads_it(self):
        self._embed()
        self.assertLen(pq.read_table(self.out), _PICTURES)

    def test_what_is_missing_is_told(self):
        with self.assertRaisesRegex(ValueError, "--model must be the folder of an exported model"):
            embed.embed(self.folder, {"data": f"folder:{self.data}"}, self.out)
        (self.folder / "empty").mkdir()
        with self.assertRaisesRegex(ValueError, "--data must be a folder with a picture in it"):
            self._embed(f"folder:{self.folder / 'empty'}")
        self.assertFalse(self.out.exists())


if __name__ == "__main__":
    tf.test.main()
