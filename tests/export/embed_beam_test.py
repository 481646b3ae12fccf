"""Tests of semppl.export.embed_beam: the rows of `semppl.export.embed`, from a pipeline."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from importlib import util
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

import semppl
from semppl.data.sources import load_source
from semppl.export import embed, embed_beam, export_model
from semppl.export.collections.embeddings import read_embeddings
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)
from semppl.tests.export.random_runs import write_run

_PICTURES = 11


def _rows(folder):
    tables = [pq.read_table(part) for part in sorted(folder.glob("part-*.parquet"))]
    return pa.concat_tables(tables).sort_by("id")


@unittest.skipUnless(util.find_spec("apache_beam"), 'the extra "beam" is not installed')
class EmbedBeamTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        write_run(cls.folder / "run")
        cls.model = cls.folder / "1"
        export_model.export(cls.folder / "run", cls.model)
        pictures = cls.folder / "pictures"
        pictures.mkdir()
        for number, image in enumerate(np.round(load_source("digits").test.images[:_PICTURES] * 255).astype(np.uint8)):
            file = tf.io.encode_png(image).numpy() if number != 4 else b"rubbish"
            (pictures / f"{number:02d}.png").write_bytes(file)
        cls.reading = {"data": f"folder:{pictures},folder:{pictures}?labels=folders"}
        embed.embed(cls.model, cls.reading, cls.folder / "expected")

    def _assert_expected(self, out):
        rows, expected = _rows(out), _rows(self.folder / "expected")
        self.assertEqual(rows.schema, expected.schema)
        for name in rows.column_names:
            if pa.types.is_floating(rows.schema.field(name).type):
                self.assertAllClose(rows[name].to_numpy(), expected[name].to_numpy(), atol=1e-4)
            elif name == "embedding":
                self.assertAllClose(np.stack(rows[name].to_numpy()), np.stack(expected[name].to_numpy()), atol=1e-4)
            else:
                self.assertEqual(rows[name].to_pylist(), expected[name].to_pylist())
        self.assertEqual(rows["valid"].to_pylist().count(False), 2)
        self.assertLen(read_embeddings(out), 2 * _PICTURES - 2)

    def test_a_pipeline_gives_the_rows_of_the_program(self):
        out = self.folder / "out"
        counts = embed_beam.embed(self.model, self.reading, str(out), batch_size=4, files=2)
        self.assertEqual(counts, (2 * _PICTURES, 2))
        self.assertLen(list(out.glob("*.parquet")), 2)
        self._assert_expected(out)
        with self.assertRaisesRegex(ValueError, "--out must be a new folder"):
            embed_beam.embed(self.model, self.reading, str(out))

    def test_a_flag_that_nobody_knows_is_refused_before_the_work_begins(self):
        with self.assertRaisesRegex(ValueError, "^Flags must be this program's or Beam's. Received: --fils$"):
            embed_beam.embed(self.model, self.reading, str(self.folder / "none"), options=["--fils=2"])
        self.assertFalse((self.folder / "none").exists())

    def test_a_runner_that_loses_rows_leaves_no_manifest(self):
        out = self.folder / "lost"
        out.mkdir()

        def lose(*_):
            pq.write_table(_rows(self.folder / "expected").slice(0, 3), out / "part-00000-of-00001.parquet")

        with (
            mock.patch.object(embed_beam, "_run", side_effect=lose),
            self.assertRaisesRegex(
                ValueError, "--runner must write a row per picture. Received: 3 rows of 22 pictures"
            ),
        ):
            embed_beam.embed(self.model, self.reading, str(out))
        self.assertEqual([path.name for path in out.iterdir()], ["part-00000-of-00001.parquet"])

    def test_a_runner_that_is_not_there_is_named(self):
        with self.assertRaisesRegex(ValueError, r"^--runner must be one that is installed. Received: NoneSuch \("):
            embed_beam.embed(self.model, self.reading, str(self.folder / "x"), options=["--runner=NoneSuch"])

    def test_a_folder_that_beam_would_not_find_again_is_refused(self):
        with self.assertRaisesRegex(ValueError, r"--out must be a path without \* "):
            embed_beam.embed(self.model, self.reading, str(self.folder / "a[1]"))

    def test_parts_of_a_run_that_was_killed_are_not_mixed_with_others(self):
        out = self.folder / "killed"
        out.mkdir()
        (out / "part-00000-of-00400.parquet").touch()
        with self.assertRaisesRegex(
            ValueError, "--out must be a new folder.*with parts of a run that did not end; remove"
        ):
            embed_beam.embed(self.model, self.reading, str(out))

    def test_the_command_passes_beams_own_flags_on(self):
        out = self.folder / "by_command"
        command = [sys.executable, "-m", "semppl.export.embed_beam", f"--model={self.model}", f"--out={out}"]
        command += [f"--data={self.reading['data']}", "--runner=DirectRunner", "--direct_num_workers=1"]
        root = str(pathlib.Path(semppl.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": root}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, 0, ran.stderr[-2000:])
        self.assertIn(f"{2 * _PICTURES - 2} pictures embedded in {out}; 2 more could not be read", ran.stdout)
        self._assert_expected(out)
        manifest = json.loads((out / "_manifest.json").read_text())
        expected = json.loads((self.folder / "expected" / "_manifest.json").read_text())
        self.assertEqual(manifest, {name: value for name, value in expected.items() if name != "shard_size"})


if __name__ == "__main__":
    tf.test.main()
