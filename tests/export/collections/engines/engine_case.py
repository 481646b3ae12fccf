"""A small collection that every engine embeds, and the rows that are expected."""

import pathlib
import tempfile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from sklearn.datasets import load_digits

from semppl.export import embed, export_model
from semppl.export.collections.embeddings import read_embeddings
from semppl.tests.export.random_runs import write_run

PICTURES = 11
SETTINGS: dict[str, Any] = {"batch_size": 4, "shard_size": 5}
PARTS = [f"part-{number:05d}.parquet" for number in range(6)]
TOLERANCE = 1e-6


def read_rows(folder):
    return pa.concat_tables([pq.read_table(part) for part in sorted(folder.glob("part-*.parquet"))])


class EngineCase(tf.test.TestCase):
    """Embeds two collections of eleven pictures, one of these unreadable, in six parts with the engine of this process."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        write_run(cls.folder / "run")
        cls.model = cls.folder / "1"
        export_model.export(cls.folder / "run", cls.model)
        pictures = cls.folder / "pictures"
        pictures.mkdir()
        pixels = (load_digits().images[:PICTURES, ..., np.newaxis] * 15).astype(np.uint8)  # [n,8,8,1]
        for number, image in enumerate(pixels):
            file = tf.io.encode_png(image).numpy() if number != 4 else b"rubbish"
            (pictures / f"{number:02d}.png").write_bytes(file)
        cls.reading = {"data": f"folder:{pictures},folder:{pictures}?labels=folders"}
        embed.embed(cls.model, cls.reading, cls.folder / "expected", **SETTINGS)

    def assert_equal_rows(self, out, expected):
        """Compares every column of every row, in the order of the files."""
        rows, expected = read_rows(out), read_rows(expected)
        self.assertEqual(rows.schema, expected.schema)
        self.assertEqual(rows["id"].to_pylist(), list(range(len(expected))))
        for name in rows.column_names:
            if pa.types.is_floating(rows.schema.field(name).type):
                self.assertAllClose(rows[name].to_numpy(), expected[name].to_numpy(), rtol=0, atol=TOLERANCE)
            elif name == "embedding":
                vectors = [np.stack(table[name].to_numpy()) for table in (rows, expected)]
                self.assertAllClose(*vectors, rtol=0, atol=TOLERANCE)
            else:
                self.assertEqual(rows[name].to_pylist(), expected[name].to_pylist())

    def assert_expected(self, out):
        """Compares a folder with that of the engine of this process, manifest included."""
        self.assert_equal_rows(out, self.folder / "expected")
        self.assertEqual(read_rows(out)["valid"].to_pylist().count(False), 2)
        self.assertLen(read_embeddings(out), 2 * PICTURES - 2)
        self.assertEqual(sorted(path.name for path in out.iterdir()), ["_manifest.json", *PARTS])
        self.assertEqual((out / "_manifest.json").read_text(), (self.folder / "expected/_manifest.json").read_text())
