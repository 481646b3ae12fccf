"""Tests of semppl.export.embed."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

import semppl
from semppl.data.sources import load_source
from semppl.export import embed, export_model
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)
from semppl.tests.export.random_runs import write_run

_PICTURES = 23


class EmbedFolderTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
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

    def _embed(self, **settings):
        return embed.embed_folder(self.model, self.data, self.out, **{"batch_size": 4, "shard_size": 10} | settings)

    def _rows(self, out=None):
        parts = sorted((out or self.out).glob("*.parquet"))
        return pa.concat_tables([pq.read_table(part) for part in parts])

    def test_there_is_a_row_for_every_picture_in_order_with_what_the_model_answers(self):
        self.assertEqual(self._embed(), _PICTURES)
        rows = self._rows()
        paths = rows["path"].to_pylist()
        self.assertEqual(paths, embed.list_pictures(self.data))
        self.assertEqual(rows["id"].to_pylist(), list(range(_PICTURES)))
        files = tf.constant([(self.data / path).read_bytes() for path in paths])
        expected = tf.saved_model.load(str(self.model)).signatures["serving_default"](bytes=files)
        self.assertEqual(set(rows.column_names), {"id", "path", *expected})
        self.assertAllClose(np.stack(rows["embedding"].to_numpy()), expected["embedding"], atol=1e-5)
        self.assertEqual(rows["class_name"].to_pylist(), [name.decode() for name in expected["class_name"].numpy()])
        for name in ("label", "probability", "ood", "valid", "abstain"):
            self.assertAllClose(rows[name].to_numpy(), expected[name], atol=1e-4)
        self.assertEqual(rows["valid"].to_pylist().count(False), 1)

    def test_files_hold_as_many_rows_as_they_should(self):
        told = []
        self._embed(say=lambda done, total: told.append((done, total)))
        self.assertEqual([pq.read_metadata(part).num_rows for part in sorted(self.out.glob("*.parquet"))], [10, 10, 3])
        self.assertEqual(told[-1], (_PICTURES, _PICTURES))
        self.assertEqual(sorted(told), told)

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
        command = [sys.executable, "-m", "semppl.export.embed", f"--model={self.model}", f"--pictures={self.data}"]
        command += [f"--out={self.out}", "--pictures_at_a_time=1", "--shard_size=3"]
        root = str(pathlib.Path(semppl.__file__).parents[1])
        killed = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root}, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 180
        while not list(self.out.glob("*.parquet")) and killed.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        killed.kill()
        killed.wait()
        self.assertNotEmpty(list(self.out.glob("*.parquet")))
        self._embed(batch_size=1, shard_size=3)
        rows = self._rows()
        shutil.rmtree(self.out)
        self._embed(batch_size=1, shard_size=3)
        self.assertEqual(rows["path"].to_pylist(), self._rows()["path"].to_pylist())
        self.assertAllClose(np.stack(rows["embedding"].to_numpy()), np.stack(self._rows()["embedding"].to_numpy()))

    def test_a_folder_that_another_command_began_is_refused(self):
        self._embed()
        with self.assertRaisesRegex(ValueError, "--out must be a new folder.*differs in shard_size"):
            self._embed(shard_size=5)
        (self.data / "one more.jpg").touch()
        with self.assertRaisesRegex(ValueError, "differs in paths_sha256, pictures"):
            self._embed()
        card = json.loads((self.out / "manifest.json").read_text())
        self.assertEqual(card["pictures"], _PICTURES)

    def test_what_is_missing_is_told(self):
        with self.assertRaisesRegex(ValueError, "--model must be the folder of an exported model"):
            embed.embed_folder(self.folder, self.data, self.out)
        (self.folder / "empty").mkdir()
        with self.assertRaisesRegex(ValueError, "--pictures must be a folder with pictures"):
            embed.embed_folder(self.model, self.folder / "empty", self.out)
        self.assertFalse(self.out.exists())


if __name__ == "__main__":
    tf.test.main()
