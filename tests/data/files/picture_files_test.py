"""Tests of a folder as images: semppl.data.files.inspection, picture_files and picture_cache, through semppl.data.sources."""

import concurrent.futures
import contextlib
import io
import multiprocessing
import os
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from semppl.configs.reading import ReadingSettings
from semppl.data.files import cache, decoding, inspection, picture_files
from semppl.data.files.decoding import Decoding
from semppl.data.files.folder import list_folder
from semppl.data.files.lost_pictures import PictureLost
from semppl.data.images import NO_LABEL
from semppl.data.sources import load_source
from semppl.tests import testing


def _pixels(number, size=(20, 30)):
    rng = np.random.default_rng(number)
    return np.asarray(Image.fromarray(rng.integers(0, 255, (4, 4, 3), np.uint8)).resize(size[::-1]))


def _pictures(source, part="train"):
    """Decodes all pictures of a source."""
    return [batch[0].numpy() for batch in getattr(source, part).batches(lambda image: image, batch_size=1)]


def _fill_cache(arguments):
    root, cache = arguments
    with contextlib.redirect_stderr(io.StringIO()):
        return len(load_source(f"folder:{root}", reading=ReadingSettings(channels=3, shrink=10, cache_dir=cache)).train)


class _FolderTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = pathlib.Path(self.create_tempdir().full_path)
        self.root, self.cache = folder / "pictures", folder / "cache"
        self.root.mkdir()
        self.enter_context(mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder / "user")}))
        self.errors = self.enter_context(contextlib.redirect_stderr(io.StringIO()))

    def save(self, name, number, size=(20, 30), **options):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_pixels(number, size)).save(path, **options)
        return path

    def load(self, query="", **reading):
        return load_source(f"folder:{self.root}{query}", reading=ReadingSettings(**{"channels": 3} | reading))

    def assertRefused(self, message, **reading):
        with self.assertRaises(ValueError) as caught:
            self.load(**reading)
        self.assertRegex(str(caught.exception), message)
        self.assertNotIn("\n", str(caught.exception))

    def caches(self):
        return sorted(path for path in self.cache.glob("pictures-*") if path.is_dir())


class FolderSourceTest(_FolderTest):
    @parameterized.parameters(1, 2)
    def test_bytes_of_files_are_read_eagerly_too(self, count):
        paths = [self.save(f"{number}.png", number) for number in range(2)][:count]
        read = self.load().train.encoded(tf.range(count, dtype=tf.int64))
        self.assertEqual(list(read), ["image"])
        self.assertEqual(read["image"].numpy().tolist(), [path.read_bytes() for path in paths])

    @parameterized.parameters(
        (4095, ".png", 1), (4095, ".tif", 1), (4400, ".png", 0), (65535, ".png", 0), (0, ".png", 0)
    )
    def test_12_bits_in_files_of_16_are_a_finding(self, largest, ending, count):
        values = np.linspace(0, largest, 20 * 30).reshape(20, 30).astype(np.uint16)
        Image.fromarray(values).save(self.root / f"a{ending}")
        Image.fromarray(np.full((20, 30), 9, np.uint8)).save(self.root / "dark.png")
        pictures = list_folder(str(self.root))
        found = inspection.summary(pictures, inspection.inspect_pictures(pictures, Decoding()))
        self.assertLen(found, count)
        for line in found:
            self.assertStartsWith(line, "1 of 16 bits that use at most the lower 12, so that at most 17 grey")
            self.assertEndsWith(line, f"multiply their values by 16: a{ending}")

    def test_pictures_come_in_the_order_of_their_paths_with_the_labels_of_the_csv(self):
        for number, name in enumerate(("b/1.png", "a/2.png", "c.png", "a/1.bmp")):
            self.save(name, number, (20 + number, 30))
        (self.root / "labels.csv").write_text("path,label\nc.png,owl\na/2.png,cat\nb/1.png,\ngone.png,dog\n")
        source = self.load("?labels=labels.csv")
        self.assertEqual(source.train.names, ("a/1.bmp", "a/2.png", "b/1.png", "c.png"))
        self.assertEqual(source.class_names, ("cat", "owl"))  # no class of a file that is not there, none for the rest
        self.assertEqual(source.train.labels.tolist(), [NO_LABEL, 0, NO_LABEL, 1])
        self.assertIsNone(source.test)
        for picture, number in zip(_pictures(source), (3, 1, 0, 2), strict=True):
            self.assertAllEqual(picture, _pixels(number, (20 + number, 30)))
        self.assertIn("1 in the CSV without a file: gone.png\n", self.errors.getvalue())

    def test_subfolders_name_the_classes_and_one_picture_makes_a_class(self):
        for name in ("dog/1.png", "cat/1.png", "cat/2.png"):
            self.save(name, 0)
        source = self.load("?labels=folders")
        self.assertEqual((source.class_names, source.train.labels.tolist()), (("cat", "dog"), [0, 0, 1]))

    def test_without_labels_there_are_no_classes(self):
        self.save("cat/1.png", 0)
        source = self.load()
        self.assertEqual((source.class_names, source.train.labels.tolist()), ((), [NO_LABEL]))

    def test_pictures_with_one_id_form_a_group(self):
        for name in "abcde":
            self.save(f"{name}.png", 0)
        (self.root / "l.csv").write_text("path,label,id\nb.png,x,7\nd.png,,7\ne.png,,8\n")
        self.assertEqual(self.load("?labels=l.csv").train.groups.tolist(), [0, 1, 2, 1, 4])

    @parameterized.parameters(0, 10)
    def test_masks_go_with_their_pictures(self, shrink):
        self.save("a.png", 0)
        self.save("b.png", 1)
        mask = np.zeros((20, 30), np.uint8)
        mask[:, 20:] = 1
        (self.root / "masks").mkdir()
        Image.fromarray(mask).save(self.root / "masks" / "b.gif")
        (self.root / "l.csv").write_text("path,label,mask\nb.png,x,masks/b.gif\nmasks/b.gif,,\n")
        for cache_dir in ("", str(self.cache)):
            source = self.load("?labels=l.csv", shrink=shrink, cache_dir=cache_dir)
            rows = tf.data.Dataset.from_tensor_slices({"positions": tf.constant([0, 1], tf.int64)})
            masks = [row["mask"] for row in source.train.map_pictures(rows, lambda row: row)]
            step = 2 if shrink else 1
            self.assertAllEqual(masks[0], np.ones((20 // step, 30 // step)))
            self.assertAllEqual(masks[1], 255 * mask[::step, ::step])

    def test_a_mask_of_another_size_or_none_is_a_bad_picture(self):
        for name in "abc":
            self.save(f"{name}.png", 0)
        Image.fromarray(np.zeros((30, 20), np.uint8)).save(self.root / "m.bmp")
        (self.root / "l.csv").write_text("path,label,mask\na.png,x,m.bmp\nb.png,x,gone.png\n")
        source = self.load("?labels=l.csv", max_bad_fraction=0.7)
        self.assertEqual(source.train.names, ("c.png",))  # a mask is no picture, unless it has a row of its own
        self.assertIn("1 skipped, mask missing or broken: b.png", self.errors.getvalue())
        self.assertIn("1 skipped, mask of another size (30×20 for a picture of 20×30): a.png", self.errors.getvalue())

    def test_awkward_files_reach_training_as_the_pictures_they_are(self):
        cases = {"turned.jpg": {"exif": self._turned(), "quality": 95}, "plain.jpg": {"quality": 95}, "tiff.tif": {}}
        for name, options in cases.items():
            self.save(name, 5, (16, 24), **options)
        for name, picture in zip(sorted(cases), _pictures(self.load()), strict=True):
            pixels, _ = decoding.decode_file((self.root / name).read_bytes(), Decoding())
            self.assertAllEqual(picture, pixels)
            self.assertEqual(picture.shape, (24, 16, 3) if name == "turned.jpg" else (16, 24, 3))

    def _turned(self):
        exif = Image.Exif()
        exif[0x112] = 6
        return exif

    def test_grey_is_decoded_to_one_channel_if_asked(self):
        self.save("a.png", 0)
        self.save("b.bmp", 0)
        source = self.load(channels=1)
        self.assertEqual(source.train.channels, 1)
        plain, other = _pictures(source)
        self.assertAllClose(plain, other, atol=2)
        self.assertRefused("^--channels must be 1 or 3 to decode picture files. Received: 4$", channels=4)


class LostPicturesTest(_FolderTest):
    """A picture that goes away, or changes, after it was looked at."""

    def assertLost(self, message, source):
        with self.assertRaises(PictureLost) as caught:
            _pictures(source)
        self.assertRegex(str(caught.exception), message)
        self.assertNotIn("\n", str(caught.exception))

    @parameterized.product(name=["a.png", "a.bmp", "a.tif"], shrink=[0, 10])
    def test_a_picture_that_was_deleted_is_named(self, name, shrink):
        path = self.save(f"some where/{name}", 0)
        source = self.load(shrink=shrink)
        path.unlink()
        message = rf"must keep its pictures .*\. Received: some where/{name}: No such file or directory; put it back"
        self.assertLost(message, source)

    @parameterized.parameters(b"", b"no picture", None)
    def test_a_picture_that_changed_is_named(self, content):
        path = self.save("a.png", 0)
        source = self.load()
        if content is None:
            self.save("a.png", 1)  # as good a picture, but not the one that has the label
        else:
            path.write_bytes(content)
        self.assertLost("Received: a.png: other contents; put it back, or start with a new --workdir", source)

    def test_a_mask_that_was_deleted_is_named_with_its_picture(self):
        self.save("a.png", 0)
        Image.fromarray(np.full((20, 30), 255, np.uint8)).save(self.root / "m.gif")
        (self.root / "l.csv").write_text("path,label,mask\na.png,x,m.gif\nm.gif,,\n")
        source = self.load("?labels=l.csv")
        (self.root / "m.gif").unlink()
        self.assertLost("Received: a.png: No such file", source)

    def test_a_picture_that_goes_while_the_cache_is_filled_is_named_and_not_the_cache(self):
        path, example = self.save("a.png", 0), cache._decoded_example
        self.load(cache_dir=str(self.cache), shrink=8)  # it is looked at, so that another cache decodes it anew

        def late(*arguments):
            path.unlink()
            return example(*arguments)

        with (
            mock.patch.object(cache, "_decoded_example", late),
            self.assertRaisesRegex(PictureLost, "Received: a.png: No"),
        ):
            self.load(cache_dir=str(self.cache))
        self.assertLen(self.caches(), 1)

    @parameterized.parameters("deleted", "emptied", "overwritten")
    def test_a_cache_that_is_damaged_under_way_is_one_line(self, how):
        self.save("a.png", 0)
        source = self.load(cache_dir=str(self.cache))
        (file,) = self.cache.glob("pictures-*/*.tfrecord")
        if how == "deleted":
            file.unlink()
        elif how == "emptied":
            file.write_bytes(b"")
        else:
            data = bytearray(file.read_bytes())
            data[12:-4] = bytes(len(data) - 16)
            file.write_bytes(data)
        self.assertLost("No such file|must stay as it is while it is read|must stay as they are", source)


class BadFilesTest(_FolderTest):
    def setUp(self):
        super().setUp()
        for number in range(7):
            self.save(f"{number}.png", number)
        (self.root / "empty.png").touch()
        (self.root / "text.jpg").write_text("not a picture")
        whole = self.save("whole.jpg", 1, (200, 200)).read_bytes()
        (self.root / "cut.jpg").write_bytes(whole[: len(whole) * 4 // 5])
        self.save("huge.png", 1, (200, 300))

    def test_bad_files_are_counted_by_reason_and_named(self):
        source = self.load(max_bad_fraction=0.5, max_pixels=50_000)
        self.assertEqual(source.train.names, (*(f"{number}.png" for number in range(7)), "whole.jpg"))
        for reason, name in (
            ("empty", "empty.png"),
            ("of no known format", "text.jpg"),
            ("truncated", "cut.jpg"),
            ("too many pixels", "huge.png"),
        ):
            self.assertIn(f"{self.root}: 1 skipped, {reason}: {name}\n", self.errors.getvalue())
        self.assertLen(_pictures(source), 8)

    def test_too_many_bad_files_stop_the_run(self):
        self.assertRefused(
            r"^--max_bad_fraction must be at least 0\.25 to go on without 3 of the 12 pictures in .*"
            r"1 skipped, empty: empty\.png; .*\. Received: 0\.24$",
            max_bad_fraction=0.24,
        )
        self.assertLen(self.load(max_bad_fraction=0.25).train, 9)

    def test_what_cannot_be_opened_counts_too(self):
        (self.root / "gone.png").symlink_to("nowhere.png")
        self.assertRefused(r"must be at least 0\.31 to go on without 4 of the 13 pictures in", max_bad_fraction=0.25)

    def test_a_folder_of_rubble_is_refused_whatever_is_allowed(self):
        self.assertRefused(r"^--data must hold a picture that can be used\.", max_bad_fraction=1.0, max_pixels=1)

    def test_truncated_files_are_kept_if_asked(self):
        source = self.load(max_bad_fraction=0.5, truncated="keep")
        self.assertIn("cut.jpg", source.train.names)
        self.assertIn("1 used as far as they go, truncated: cut.jpg …", self.errors.getvalue())
        cut, whole = (
            dict(zip(source.train.names, _pictures(source), strict=True))[f"{n}.jpg"] for n in ("cut", "whole")
        )
        self.assertAllClose(cut[:100], whole[:100], atol=3)
        self.assertNotAllClose(cut[-8:], whole[-8:], atol=3)

    def test_files_that_may_not_be_read_are_counted(self):
        read_bytes = pathlib.Path.read_bytes

        def closed(path):
            if path.name == "3.png":
                raise PermissionError(13, "Permission denied", str(path))
            return read_bytes(path)

        with mock.patch.object(pathlib.Path, "read_bytes", closed):
            self.assertNotIn("3.png", self.load(max_bad_fraction=0.5).train.names)
        self.assertIn("1 skipped, cannot be read (Permission denied): 3.png\n", self.errors.getvalue())


class InspectionTest(_FolderTest):
    def setUp(self):
        super().setUp()
        for number in range(3):
            self.save(f"{number}.png", number)

    def counting(self):
        return mock.patch.object(inspection, "decode_file", wraps=decoding.decode_file)

    def test_pictures_are_looked_at_once(self):
        self.load()
        with self.counting() as looking:
            self.assertLen(_pictures(self.load()), 3)
            self.assertLen(self.load("?labels=folders").train, 3)
        looking.assert_not_called()
        self.assertEqual(
            {path.suffix for path in self.root.iterdir()}, {".png"}
        )  # nothing is left in the user's folder

    def test_a_file_that_changed_is_looked_at_again(self):
        self.load()
        (self.root / "1.png").write_bytes(b"no longer a picture")
        self.assertEqual(self.load(max_bad_fraction=0.5).train.names, ("0.png", "2.png"))

    def test_other_settings_look_again(self):
        self.load()
        self.assertRefused("^--data must hold a picture", max_pixels=10)

    def test_where_nothing_can_be_kept_it_is_said_and_done_each_time(self):
        with mock.patch.object(inspection.array_cache, "save", return_value=False):
            self.load()
        self.assertIn("the inspection is not cached", self.errors.getvalue())
        with self.counting() as looking:
            self.load()
        self.assertEqual(looking.call_count, 3)


class CacheTest(_FolderTest):
    def setUp(self):
        super().setUp()
        for number in range(5):
            self.save(f"{number}.{('jpg', 'png', 'bmp')[number % 3]}", number, (20 + number, 30))

    def cached(self, **changes):
        return self.load(cache_dir=str(self.cache), **{"shrink": 10, **changes})

    def test_cached_pictures_are_those_without_a_cache(self):
        for shrink in (0, 10):
            for cached, fresh in zip(
                _pictures(self.cached(shrink=shrink)), _pictures(self.load(shrink=shrink)), strict=True
            ):
                self.assertAllEqual(cached, fresh)

    @parameterized.parameters(0, 10)
    def test_the_first_start_decodes_each_picture_once(self, shrink):
        (self.root / "bad.png").write_bytes(b"no picture")
        Image.fromarray(np.full((20, 30), 255, np.uint8)).save(self.root / "m.gif")
        (self.root / "l.csv").write_text("path,label,mask\n0.jpg,x,m.gif\n")
        settings = {"cache_dir": str(self.cache), "shrink": shrink, "max_bad_fraction": 0.5}
        with (
            mock.patch.object(inspection, "decode_file", wraps=decoding.decode_file) as looked,
            mock.patch.object(picture_files, "decode_file", side_effect=AssertionError("decoded again")),
            mock.patch.object(cache, "_fill", side_effect=AssertionError("filled")),
        ):
            source = self.load("?labels=l.csv", **settings)
        self.assertEqual(looked.call_count, 6)  # one is of no use
        self.assertEqual([path.name for path in self.cache.glob(".*")], [])
        rows = tf.data.Dataset.range(5).map(lambda number: {"positions": number})
        cached, fresh = (
            list(images.map_pictures(rows, lambda row: row).as_numpy_iterator())
            for images in (source.train, self.load("?labels=l.csv", shrink=shrink, max_bad_fraction=0.5).train)
        )
        for one, other in zip(cached, fresh, strict=True):
            self.assertAllEqual(one["image"], other["image"])
            self.assertAllEqual(one["mask"], other["mask"])

    def test_where_truncated_pictures_are_kept_the_cache_has_them_in_their_place(self):
        whole = self.save("3a.jpg", 1, (200, 200)).read_bytes()
        (self.root / "3a.jpg").write_bytes(whole[: len(whole) * 4 // 5])
        cached = _pictures(self.cached(truncated="keep"))
        for one, other in zip(cached, _pictures(self.load(truncated="keep", shrink=10)), strict=True):
            self.assertAllEqual(one, other)
        self.assertLen(cached, 6)

    def test_a_cache_may_have_the_name_of_a_pattern(self):
        self.cache = self.cache.with_name("c [1]*")
        for _ in range(2):
            self.assertLen(_pictures(self.cached()), 5)
        self.assertLen([path for path in self.cache.iterdir() if path.is_dir()], 1)

    def test_a_warm_cache_needs_no_picture_file(self):
        expected = _pictures(self.cached())
        with mock.patch.object(decoding.Image, "open", side_effect=AssertionError("decoded")):
            source = self.cached()
            self.assertEqual([picture.tolist() for picture in _pictures(source)], [p.tolist() for p in expected])
        self.assertLen(self.caches(), 1)

    def test_other_contents_or_settings_make_another_cache(self):
        self.cached()
        self.cached(shrink=12)
        self.cached(channels=1)
        self.assertLen(self.caches(), 3)
        self.save("1.png", 77, (21, 30))
        self.assertAllEqual(_pictures(self.cached(shrink=0))[1], _pixels(77, (21, 30)))
        self.assertLen(self.caches(), 4)

    def test_labels_and_names_do_not_matter_to_it(self):
        self.cached()
        self.root = self.root.rename(self.root.parent / "moved")
        self.assertLen(_pictures(self.cached()), 5)
        self.assertLen(self.caches(), 1)

    def test_a_cache_has_several_files(self):
        with mock.patch.object(cache, "_PICTURES_A_FILE", 2):
            cached = _pictures(self.cached())
        self.assertLen(list(self.caches()[0].glob("*.tfrecord")), 3)
        for ours, fresh in zip(cached, _pictures(self.load(shrink=10)), strict=True):
            self.assertAllEqual(ours, fresh)

    def test_a_disk_that_fills_leaves_nothing_behind_and_is_one_line(self):
        full = tf.errors.ResourceExhaustedError(None, None, "/cache/x; No space left on device")
        for problem in (full, OSError(28, "No space left on device")):
            with (
                mock.patch.object(tf.io.TFRecordWriter, "write", side_effect=problem),
                self.assertRaisesRegex(OSError, r"^--cache_dir must be .* \(No space left on device\); make room"),
            ):
                self.cached()
            self.assertEqual([path.name for path in self.cache.iterdir() if path.is_dir()], [])
        self.assertLen(_pictures(self.cached()), 5)

    def test_what_a_killed_run_left_is_removed(self):
        self.cached()
        (cache,) = self.caches()
        cache.rename(self.cache / f".{cache.name}-left")
        self.cached()
        self.assertEqual([path.name for path in self.cache.iterdir() if path.is_dir()], [cache.name])

    def test_a_cache_that_cannot_be_written_is_one_line(self):
        self.cache.write_text("a file")
        with self.assertRaisesRegex(OSError, r"^--cache_dir must be a folder that can be written"):
            self.cached()

    def test_several_runs_fill_it_at_once(self):
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            counts = list(pool.map(_fill_cache, [(str(self.root), str(self.cache))] * 2))
        self.assertEqual(counts, [5, 5])
        self.assertLen([path for path in self.cache.iterdir() if path.is_dir()], 1)
        with mock.patch.object(cache, "_fill", side_effect=AssertionError("filled again")):
            self.assertLen(_pictures(self.cached()), 5)


class RecordedPicturesTest(_FolderTest):
    def write(self, name, rows):
        with tf.io.TFRecordWriter(str(self.root / name)) as writer:
            for picture, label, title, *mask in rows:
                features = {"jpg": tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture] if picture else []))}
                if label is not None:
                    features["kind"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
                features["title"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[title.encode()]))
                if mask:
                    features["mask"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=mask))
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())

    def records(self, **reading):
        names = {"image_feature": "jpg", "label_feature": "kind"}
        return load_source(f"tfrecord:{self.root}/*.rec", reading=ReadingSettings(channels=3, **names | reading))

    def setUp(self):
        super().setUp()
        pictures = [self.save(f"{number}.{kind}", number) for number, kind in enumerate(("png", "webp", "bmp", "png"))]
        self.expected = [decoding.decode_file(path.read_bytes(), Decoding())[0] for path in pictures]
        first, second, third, fourth = (path.read_bytes() for path in pictures)
        self.write("b.rec", [(third, 12, "c"), (b"bad", 1, "d"), (None, 1, "e"), (fourth, -1, "f")])
        self.write("a.rec", [(first, 3, "a"), (second, None, "b")])

    def test_records_are_pictures_of_any_format_some_with_a_label(self):
        source = self.records(max_bad_fraction=0.5)
        self.assertEqual(source.class_names, ("12", "3"))
        self.assertEqual(source.train.labels.tolist(), [1, NO_LABEL, 0, NO_LABEL])
        self.assertEqual(source.train.names, ("a.rec#0", "a.rec#1", "b.rec#0", "b.rec#3"))
        for cache_dir in ("", str(self.cache)):
            pictures = _pictures(self.records(max_bad_fraction=0.5, cache_dir=cache_dir))
            for picture, expected in zip(pictures, self.expected, strict=True):
                self.assertAllEqual(picture, expected)

    def test_names_may_be_given(self):
        self.assertEqual(self.records(max_bad_fraction=0.5, name_feature="title").train.names, ("a", "b", "c", "f"))

    def test_records_may_bring_masks(self):
        whole = np.zeros(self.expected[0].shape[:2], np.uint8)
        whole[:3] = 7
        png = decoding.encode(whole[..., np.newaxis])
        picture = decoding.encode(self.expected[0])
        for name in ("a.rec", "b.rec"):
            self.write(name, [(picture, 1, "p", png)])
        rows = tf.data.Dataset.from_tensor_slices({"positions": np.arange(2)})
        for cache_dir in ("", str(self.cache)):
            train = self.records(mask_feature="mask", cache_dir=cache_dir).train
            for row in train.map_pictures(rows, lambda row: row):
                self.assertAllEqual(row["mask"] > 0, whole > 0)
        self.assertNotIn("mask", next(iter(self.records().train.map_pictures(rows, lambda row: row))))
        self.write("b.rec", [(picture, 1, "p", decoding.encode(whole[:-1, :, np.newaxis])), (picture, 1, "p")])
        with self.assertRaisesRegex(
            ValueError,
            r"2 of the 3 pictures .*1 skipped, mask missing or broken: b\.rec#1; 1 .* another size \(19×30 for .*: b\.rec#0",
        ):
            self.records(mask_feature="mask")

    def test_bad_records_are_counted_and_named(self):
        with self.assertRaisesRegex(
            ValueError, r"without 2 of the 6 pictures .*1 skipped, empty: b\.rec#2; 1 skipped, of no"
        ):
            self.records()

    @parameterized.parameters(
        (
            {"image_feature": "image"},
            r"^--image_feature must name a feature of bytes in .*a\.rec\. Received: image, among jpg ",
        ),
        (
            {"image_feature": "kind"},
            r"^--image_feature must .*\. Received: kind, among jpg \(bytes\), kind \(int64\), title \(",
        ),
        ({"name_feature": "nom"}, r"^--name_feature must name a feature of bytes .*Received: nom, among jpg"),
        ({"mask_feature": "mask"}, r"^--mask_feature must name a feature of bytes .*Received: mask, among jpg"),
        ({"label_feature": "title"}, r"^--label_feature must name integers in .*Received: title, among jpg"),
    )
    def test_a_feature_that_is_not_there_is_named_among_those_that_are(self, reading, message):
        with self.assertRaisesRegex(ValueError, message):
            self.records(**reading)

    def test_a_label_of_another_name_is_named(self):
        picture = decoding.encode(self.expected[0])
        feature = {"jpg": tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture]))}
        feature["image/class/label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
        with tf.io.TFRecordWriter(str(self.root / "a.rec")) as writer:
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        with self.assertRaisesRegex(
            ValueError, "^--label_feature must name the label .*of image/class/label. Received: kind"
        ):
            self.records()
        self.assertLen(self.records(label_feature="image/class/label", max_bad_fraction=0.5).train, 3)

    def test_labels_beyond_32_bits_are_kept_apart(self):
        picture = decoding.encode(self.expected[0])
        large = (3_000_000_017, 2_000_000_011, 6_294_967_307, 2_000_000_011)
        self.write("a.rec", [(picture, label, "p") for label in large])
        (self.root / "b.rec").unlink()
        for _ in range(2):  # the second time from the cached catalogue
            source = self.records()
            self.assertEqual(
                [source.class_names[label] for label in source.train.labels], [str(label) for label in large]
            )

    def test_a_pattern_that_matches_nothing_is_named(self):
        with self.assertRaisesRegex(
            ValueError, r"^--data must match a TFRecord file after tfrecord:\. Received: .*none\*$"
        ):
            load_source(f"tfrecord:{self.root}/none*")


class RealFoldersTest(_FolderTest):
    def test_awkward_real_files_end_as_a_picture_or_as_a_named_skip(self):
        self.root = testing.unzipped("edge_cases/edge_cases_dev.zip", self.root)
        self.assertRefused(r"^--max_bad_fraction must be at least 0\.11 to go on without 2 of the 18 pictures")
        source = self.load(max_bad_fraction=0.2)
        self.assertLen(source.train, 16)
        self.assertLen(_pictures(source), 16)
        self.assertLen(self.load(max_bad_fraction=0.2, truncated="keep").train, 17)

    def test_a_real_folder_is_a_data_set(self):
        self.root = testing.unzipped("clothing/clothing_dev.zip", self.root) / "validation"
        source = self.load("?labels=folders")
        self.assertEqual((len(source.train), len(source.class_names)), (341, 10))
        self.assertEqual(source.class_names[0], "dress")


if __name__ == "__main__":
    tf.test.main()
