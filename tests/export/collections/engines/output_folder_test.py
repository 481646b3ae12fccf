"""Tests of semppl.export.collections.engines.output_folder."""

import json
import pathlib
import tempfile
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from absl.testing import absltest, parameterized
from pyarrow import fs

from semppl.export.collections.collection import Collection, Span
from semppl.export.collections.engines import output_folder
from semppl.export.collections.engines.output_folder import OutputFolder, Part, plan_parts

_PARTS = [Part(0, Span(0, 0, 2, 0)), Part(1, Span(0, 2, 3, 0))]
_MANIFEST = {
    "pictures": 3,
    "pictures_sha256": "a",
    "weights_sha256": "b",
    "model_card_sha256": "c",
    "shard_size": 2,
}


def _table(*valid):
    return pa.table({"id": range(len(valid)), "valid": list(valid)})


@parameterized.named_parameters(("local", False), ("remote", True))
class OutputFolderTest(parameterized.TestCase):
    def _folder(self, remote):
        """Makes a folder on this file system, or one that is written as a store of objects is."""
        root = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        if remote:
            place = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem()), "out"
            self.enter_context(mock.patch.object(output_folder, "_file_system", return_value=place))
        return root / "out", OutputFolder(str(root / "out"))

    def _names(self, path):
        return sorted(file.name for file in path.iterdir())

    def test_the_manifest_comes_after_the_last_part(self, remote):
        path, folder = self._folder(remote)
        folder.begin(_MANIFEST)
        self.assertEqual(self._names(path), ["_begun.json"])
        self.assertEqual(folder.missing(_PARTS), _PARTS)
        folder.write(_PARTS[1], _table(False))
        self.assertEqual(folder.missing(_PARTS), _PARTS[:1])
        folder.write(_PARTS[0], _table(True, True))
        self.assertEqual(folder.finish(_PARTS, "--engine=none"), 1)
        self.assertEqual(self._names(path), ["_manifest.json", "part-00000.parquet", "part-00001.parquet"])
        self.assertEqual(json.loads((path / "_manifest.json").read_text()), _MANIFEST)
        self.assertEqual(pq.read_table(path / "part-00000.parquet")["id"].to_pylist(), [0, 1])

    def test_a_part_that_is_written_twice_is_one_file(self, remote):
        path, folder = self._folder(remote)
        folder.begin(_MANIFEST)
        for part in (_PARTS[0], _PARTS[0], _PARTS[1]):
            folder.write(part, _table(*[True] * len(part)))
        self.assertEqual(folder.finish(_PARTS, "--engine=none"), 0)
        self.assertLen(self._names(path), 3)

    def test_lost_rows_are_an_error_that_names_the_engine_and_leave_no_manifest(self, remote):
        path, folder = self._folder(remote)
        folder.begin(_MANIFEST)
        with self.assertRaisesRegex(ValueError, "^--engine=none must write a row per picture. Received: 0 rows of 3"):
            folder.finish(_PARTS, "--engine=none")
        folder.write(_PARTS[0], _table(True))
        folder.write(_PARTS[1], _table(True))
        with self.assertRaisesRegex(ValueError, "2 rows of 3 pictures in .*, where part-00000.parquet is not whole"):
            folder.finish(_PARTS, "--engine=none")
        self.assertEqual(self._names(path), ["_begun.json", "part-00001.parquet"])
        self.assertEqual(folder.missing(_PARTS), _PARTS[:1])  # the next start writes it anew

    def test_another_job_and_other_files_are_refused(self, remote):
        path, folder = self._folder(remote)
        path.mkdir()
        (path / "part-00000-of-00400.parquet").touch()
        with self.assertRaisesRegex(ValueError, "--out must be a new folder.*, with other files"):
            folder.begin(_MANIFEST)
        (path / "part-00000-of-00400.parquet").unlink()
        folder.begin(_MANIFEST)
        (path / ".part-00000.parquet.killed").touch()
        folder.begin(_MANIFEST)
        self.assertEqual(self._names(path), ["_begun.json"])
        with self.assertRaisesRegex(ValueError, "--out must be a new folder.*, which differs in the model's weights"):
            folder.begin(_MANIFEST | {"weights_sha256": "other"})

    def test_a_folder_with_the_manifest_of_an_earlier_version_is_continued(self, remote):
        path, folder = self._folder(remote)
        path.mkdir()
        (path / "_manifest.json").write_text(json.dumps(_MANIFEST))
        folder.begin(_MANIFEST)
        for part in folder.missing(_PARTS):
            folder.write(part, _table(*[True] * len(part)))
        folder.finish(_PARTS, "--engine=none")
        self.assertEqual(self._names(path), ["_manifest.json", "part-00000.parquet", "part-00001.parquet"])


class PlanTest(absltest.TestCase):
    def test_parts_cover_every_picture_once_and_no_part_mixes_collections(self):
        collections = [Collection(("",) * size, ("",) * size, lambda _: []) for size in (5, 2)]
        parts = plan_parts(collections, 3)
        ids = [part.span.offset + at for part in parts for at in range(part.span.first, part.span.end)]
        self.assertEqual(ids, list(range(7)))
        self.assertEqual([len(part) for part in parts], [3, 2, 2])
        self.assertEqual([part.name for part in parts], [f"part-{number:05d}.parquet" for number in range(3)])

    def test_a_file_system_that_arrow_does_not_know_is_named(self):
        with self.assertRaisesRegex(ValueError, "^--out must be a folder that Arrow can write. Received: nfs3://a/b"):
            OutputFolder("nfs3://a/b")


if __name__ == "__main__":
    absltest.main()
