"""Tests of semppl.data.records.index and semppl.data.records.catalogue."""

import concurrent.futures
import itertools
import os
import pathlib
import stat
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.data.files import array_cache
from semppl.data.records import catalogue
from semppl.data.records.catalogue import read_catalogue
from semppl.data.records.index import index_records
from semppl.runs import files
from semppl.tests import testing


def _write(path, rows):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            writer.write(row)
    return str(path)


def _example(label=None, name=None, image=b"\x89PNG" * 50):
    features = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
    if label is not None:
        features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    if name is not None:
        features["file_name"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode()]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


class FolderTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)


class RecordFilesTest(FolderTest):
    def setUp(self):
        super().setUp()
        sizes = np.random.default_rng(0).integers(0, 3000, 40)
        self.rows = [np.random.default_rng(i).bytes(size) for i, size in enumerate([0, 1, *sizes])]
        cuts = (0, 7, 7, 30, 42)  # the second file is empty
        self.paths = [
            _write(self.folder / f"{i}.tfrecord", self.rows[first:last])
            for i, (first, last) in enumerate(itertools.pairwise(cuts))
        ]

    def test_records_are_numbered_through_and_read_in_any_order(self):
        index = index_records(self.paths)
        self.assertLen(index, 42)
        order = np.random.default_rng(1).integers(0, 42, 100)
        self.assertEqual(index.read(order), [self.rows[position] for position in order])

    def test_files_are_read_in_the_order_they_are_given_in(self):
        index = index_records(self.paths[::-1])
        self.assertEqual(index.read(np.arange(12)), self.rows[30:])

    def test_the_index_is_that_of_tensorflows_own_reader(self):
        index = index_records(self.paths)
        whole = [row.numpy() for row in tf.data.TFRecordDataset(self.paths)]
        self.assertEqual(index.read(np.arange(42)), whole)
        self.assertEqual(index.lengths.tolist(), [len(row) for row in whole])

    def test_many_threads_read_at_once(self):
        index = index_records(self.paths)
        parts = [np.random.default_rng(i).permutation(42) for i in range(32)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for part, read in zip(parts, pool.map(index.read, parts), strict=True):
                self.assertEqual(read, [self.rows[position] for position in part])

    def test_no_file_stays_open(self):
        index = index_records(self.paths)
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        index.read(np.arange(42))
        self.assertEqual(len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0, before)

    @parameterized.parameters(1, 3, 4, 15, 500)
    def test_a_truncated_file_is_named(self, missing):
        path = pathlib.Path(self.paths[2])
        path.write_bytes(path.read_bytes()[:-missing])
        with self.assertRaisesRegex(
            ValueError,
            rf"^{path} must be whole TFRecords, uncompressed\. Received: {path.stat().st_size} bytes, with no record "
            r"that ends in them at byte \d+; copy or prepare the file again$",
        ):
            index_records(self.paths)

    @parameterized.parameters(b"GIF89a, and a few more bytes", b"short", b"\xff" * 64)
    def test_a_file_of_another_kind_is_named(self, content):
        path = self.folder / "other.tfrecord"
        path.write_bytes(content)
        with self.assertRaisesRegex(ValueError, f"^{path} must be whole TFRecords"):
            index_records([*self.paths, str(path)])

    def test_a_file_that_is_elsewhere_is_named(self):
        with self.assertRaisesRegex(ValueError, r"on a disk of this machine\. Received: gs://bucket/a; copy or mount"):
            index_records(["gs://bucket/a"])
        with self.assertRaisesRegex(ValueError, "must be a TFRecord file to read. Received: none"):
            index_records([])

    def test_a_file_that_changed_after_it_was_indexed_is_named(self):
        index = index_records(self.paths)
        _write(self.paths[0], [row + b"!" for row in self.rows[:7]])
        with self.assertRaisesRegex(ValueError, f"^{self.paths[0]} must stay as it is"):
            index.read(np.arange(3))


class CatalogueTest(FolderTest):
    def setUp(self):
        super().setUp()
        self.data = self.folder / "data"
        self.data.mkdir()
        self.cache = self.folder / "cache"
        self.enter_context(mock.patch.dict(os.environ, XDG_CACHE_HOME=str(self.cache)))
        self.enter_context(mock.patch.object(catalogue, "_say"))
        self.labels = [4, -1, 0, 2, 2, 7, 1]
        self.names = [f"n{i:03}_ü.JPEG" for i in range(7)]
        rows = [_example(*row) for row in zip(self.labels, self.names, strict=True)]
        self.paths = [_write(self.data / "a", rows[:3]), _write(self.data / "b", rows[3:])]

    def read(self, name="file_name", paths=None):
        return read_catalogue(paths or self.paths, label="label", name=name)

    def assertWhole(self, read, names=True):
        self.assertEqual(read.labels.tolist(), self.labels)
        self.assertEqual(read.labels.dtype, np.int64)
        self.assertEqual([name.decode() for name in read.names.tolist()], self.names if names else [])
        self.assertLen(read.records, 7)

    def counting(self):
        return mock.patch.object(catalogue, "_read_columns", wraps=catalogue._read_columns)

    def test_labels_and_names_come_in_the_order_of_the_records(self):
        self.assertWhole(self.read())

    def test_records_may_have_no_names(self):
        self.assertWhole(self.read(name=""), names=False)
        self.assertWhole(self.read(), names=True)

    def test_the_records_are_read_once(self):
        self.read()
        self.assertLen([path for path in self.data.iterdir() if path.name.startswith(".semppl")], 1)
        with self.counting() as reading, mock.patch.object(catalogue, "index_records") as indexing:
            cached = self.read()
        self.assertWhole(cached)
        reading.assert_not_called()
        indexing.assert_not_called()
        order = np.array([5, 0, 3, 6, 2])
        self.assertEqual(cached.records.read(order), index_records(self.paths).read(order))

    def test_a_folder_that_was_moved_with_its_cache_is_not_read_again(self):
        self.read()
        moved = self.data.rename(self.folder / "moved")
        with self.counting() as reading:
            self.assertWhole(self.read(paths=[str(moved / "a"), str(moved / "b")]))
        reading.assert_not_called()

    def test_files_that_changed_are_read_again(self):
        self.read()
        self.labels[0], content = 5, pathlib.Path(self.paths[0]).stat()
        rows = [_example(*row) for row in zip(self.labels, self.names, strict=True)]
        _write(self.paths[0], rows[:3])
        self.assertEqual(pathlib.Path(self.paths[0]).stat().st_size, content.st_size)
        self.assertWhole(self.read())

    @parameterized.parameters(b"", b"PK\x03\x04 and no more", b"not an archive")
    def test_a_damaged_cache_is_made_again(self, content):
        self.read()
        (cache,) = self.data.glob(".semppl*")
        cache.write_bytes(content)
        self.assertWhole(self.read())
        with self.counting() as reading:
            self.assertWhole(self.read())
        reading.assert_not_called()

    def test_a_cache_never_runs_code(self):
        self.read()
        (cache,) = self.data.glob(".semppl*")
        columns = {"lengths": np.ones(7, np.int64), "counts": np.array([3, 4]), "names": np.zeros(7, "S1")}
        np.savez(cache, labels=np.array([print] * 7, object), **columns)
        self.assertWhole(self.read())

    def test_where_the_data_cannot_be_written_the_users_cache_is_used(self):
        with mock.patch.object(files.tempfile, "mkstemp", side_effect=self._not_beside_the_data):
            self.assertWhole(self.read())
        self.assertEmpty(list(self.data.glob(".semppl*")))
        self.assertLen(list((self.cache / "semppl").iterdir()), 1)
        with self.counting() as reading:
            self.assertWhole(self.read())
        reading.assert_not_called()

    def _not_beside_the_data(self, dir, prefix):  # noqa: A002  (the name of mkstemp's argument)
        if pathlib.Path(dir) == self.data:
            raise PermissionError(13, "Permission denied")
        path = pathlib.Path(dir) / f"{prefix}x"
        return os.open(path, os.O_WRONLY | os.O_CREAT), str(path)

    def test_where_nothing_can_be_written_it_is_read_each_time(self):
        with mock.patch.object(files.tempfile, "mkstemp", side_effect=PermissionError(13, "no")):
            self.assertWhole(self.read())
            self.assertWhole(self.read())
        self.assertIn("no folder can be written", catalogue._say.call_args[0][0])

    def test_a_disk_that_fills_while_the_catalogue_is_written_leaves_nothing_behind(self):
        with mock.patch.object(array_cache.np, "savez", side_effect=OSError(28, "No space left on device")):
            self.assertWhole(self.read())
        self.assertEqual({path.name for path in self.data.iterdir()}, {"a", "b"})
        self.assertEmpty(list((self.cache / "semppl").iterdir()))

    def test_the_cached_catalogue_can_be_read_by_others(self):
        self.read()
        (cache,) = self.data.glob(".semppl*")
        self.assertEqual(stat.S_IMODE(cache.stat().st_mode), 0o644)

    def test_a_damaged_record_is_found_before_training_and_its_file_named(self):
        path = pathlib.Path(self.paths[1])
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
        with self.assertRaisesRegex(ValueError, f"^{path} must hold whole records with the feature 'label'.*corrupted"):
            self.read()
        self.assertEmpty(list(self.data.glob(".semppl*")))

    def test_a_record_without_a_label_is_found_and_its_file_named(self):
        _write(self.paths[1], [_example(1, "a"), _example(None, "b")])
        with self.assertRaises(ValueError) as caught:
            self.read()
        self.assertStartsWith(
            str(caught.exception), f"{self.paths[1]} must hold whole records with the feature 'label'"
        )
        self.assertNotIn("\n", str(caught.exception))

    def test_many_files_come_in_order(self):
        paths = [_write(self.data / f"{i:03}", [_example(i, f"{i}")] * (1 + i % 3)) for i in range(70)]
        read = self.read(paths=paths)
        self.assertEqual(read.labels.tolist(), [i for i in range(70) for _ in range(1 + i % 3)])
        self.assertEqual(read.records.files.tolist(), read.labels.tolist())


if __name__ == "__main__":
    assert testing
    tf.test.main()
