"""Tests of semppl.data.sources."""

import functools
import hashlib
import re
import time
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl.testing import parameterized

from semppl.configs.reading import ReadingSettings
from semppl.data import sources
from semppl.data.sources import NO_LABEL, ImageSet, load_source
from semppl.tests import testing

_SHAPE = (5, 4, 3)


class _Set(tfds.core.GeneratorBasedBuilder):
    """A data set small enough to be prepared in a test; rows are not stored in the order in which they are made."""

    VERSION = tfds.core.Version("1.0.0")
    SPLITS = {"train": 1500, "test": 7}  # noqa: RUF012  (more than one batch of the reader)
    FEATURES = {  # noqa: RUF012
        "file": tfds.features.Text(),
        "image": tfds.features.Image(shape=_SHAPE),
        "kind": tfds.features.ClassLabel(names=["cat", "dog", "owl"]),
    }

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(self.FEATURES))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {name: self._generate_examples(count) for name, count in self.SPLITS.items()}

    def _generate_examples(self, count):
        for index in range(count):
            row = {"file": f"{index}.png", "image": np.full(_SHAPE, index % 251, np.uint8), "kind": index % 3}
            yield index, {name: row[name] for name in self.FEATURES if name in row}


class SempplWhole(_Set):
    """Has all that is needed."""


class SempplHeldOut(_Set):
    """Calls its test images validation."""

    SPLITS = {"train": 5, "validation": 3}  # noqa: RUF012


class SempplUnlabelled(_Set):
    """Has no labels."""

    FEATURES = {"image": tfds.features.Image(shape=_SHAPE)}  # noqa: RUF012


class SempplUntested(_Set):
    """Has no test images."""

    SPLITS = {"train": 5}  # noqa: RUF012


class SempplManySizes(_Set):
    """Has images of several sizes, as ImageNet has, and test images without labels."""

    SPLITS = {"train": 11, "validation": 4, "test": 3}  # noqa: RUF012
    FEATURES = {  # noqa: RUF012
        "file": tfds.features.Text(),
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
        "kind": tfds.features.ClassLabel(num_classes=3),
    }

    def _generate_examples(self, count):
        for index in range(count):
            image = np.full((4 + index, 9 - index % 5, 3), index, np.uint8)
            yield index, {"file": f"{index}.png", "image": image, "kind": -1 if count == 3 else index % 3}


def _mask(index, height, width):
    """A mask that no other image has: a row and a column of it show the object."""
    mask = np.zeros((height, width, 1), np.uint8)
    mask[index % height] = mask[:, index % width] = 1
    return mask


class SempplMasked(_Set):
    """Has images and masks of one size; the mask's name comes before the image's."""

    SPLITS = {"train": 5, "test": 3}  # noqa: RUF012
    FEATURES = _Set.FEATURES | {"background": tfds.features.Image(shape=(*_SHAPE[:2], 1))}
    MASK_SHAPE = _SHAPE[:2]

    def _generate_examples(self, count):
        for index, row in super()._generate_examples(count):
            yield index, row | {"background": _mask(index, *self.MASK_SHAPE)}


class SempplMaskedAlike(SempplMasked):
    """Says nothing of its masks' size, which is wrong for the fourth training image."""

    FEATURES = _Set.FEATURES | {"background": tfds.features.Image(shape=(None, None, 1))}

    def _generate_examples(self, count):
        for index, row in super()._generate_examples(count):
            yield index, row | ({"background": _mask(0, 2, 3)} if index == 3 else {})


class SempplMaskedOtherwise(SempplMasked):
    """Has masks of another size than its images."""

    FEATURES = _Set.FEATURES | {"background": tfds.features.Image(shape=(2, 3, 1))}
    MASK_SHAPE = (2, 3)


class SempplMaskedManySizes(SempplManySizes):
    """Has a mask for each of its images of several sizes."""

    FEATURES = SempplManySizes.FEATURES | {"background": tfds.features.LabeledImage(labels=5, shape=(None, None, 1))}

    def _generate_examples(self, count):
        for index, row in super()._generate_examples(count):
            yield index, row | {"background": _mask(index, *row["image"].shape[:2])}


def _digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


class ImageSetTest(tf.test.TestCase):
    def test_batches_are_prepared_in_order(self):
        images = np.arange(7, dtype=np.uint8)[:, np.newaxis, np.newaxis, np.newaxis] + np.zeros((7, 2, 2, 1), np.uint8)
        batches = list(ImageSet(images, np.zeros(7, np.int32)).batches(lambda batch: batch + 1, batch_size=3))
        self.assertEqual([len(batch) for batch in batches], [3, 3, 1])
        self.assertAllEqual(tf.concat(batches, 0), images + 1)
        yielded = ImageSet(images, np.zeros(7, np.int32)).batches(
            lambda batch: batch, batch_size=2, positions=np.array([5, 1, 5])
        )
        self.assertAllEqual(tf.concat(list(yielded), 0), images[[5, 1, 5]])

    def test_masks_have_the_images_size(self):
        images, labels = np.zeros((2, 4, 6, 3), np.uint8), np.zeros(2, np.int32)
        self.assertLen(ImageSet(images, labels, masks=np.zeros((2, 4, 6), np.uint8)), 2)
        with self.assertRaisesRegex(
            ValueError, r"^Masks must be of the images' size, \(2, 4, 6\)\. Received: \(2, 6, 4\)$"
        ):
            ImageSet(images, labels, masks=np.zeros((2, 6, 4), np.uint8))


class DigitsTest(tf.test.TestCase):
    def test_digits_are_grey_scans_with_true_labels(self):
        source = load_source("digits")
        self.assertEqual(source.class_names, tuple("0123456789"))
        for part, count in ((source.train, 1500), (source.test, 297)):
            self.assertEqual((part.images.shape, part.labels.shape), ((count, 8, 8, 1), (count,)))
            self.assertEqual((part.images.dtype, part.labels.dtype), (np.float32, np.int32))
            self.assertEqual((part.images.min(), part.images.max()), (0, 1))
            self.assertEqual(np.unique(part.labels).tolist(), list(range(10)))
            self.assertBetween(np.bincount(part.labels).min() / count, 0.09, 0.11)

    def test_digits_are_the_same_in_the_same_order_everywhere(self):
        source = load_source("digits")
        # Recorded by `_digest` on scikit-learn 1.7; label lists and draws are positions in this order.
        self.assertEqual(_digest(source.train.images), "0247705c93d3ea62")
        self.assertEqual(_digest(source.train.labels), "5241bba95b08e1fa")
        self.assertEqual(_digest(source.test.images), "4352ac836ba87a56")

    def test_no_test_image_is_trained_on(self):
        source = load_source("digits")
        train, test = ({image.tobytes() for image in part.images} for part in (source.train, source.test))
        self.assertEmpty(train & test)


class UnknownTest(parameterized.TestCase):
    @parameterized.parameters(
        ("nope", "folder:nope"),
        ("pictures?labels=a.csv", "folder:pictures?labels=a.csv"),
        ("/?labels=folders", "folder:/?labels=folders"),
        ("", ""),
        ("digits:3", ""),
        (":digits", ""),
        ("tfds8:x", "tfds:x"),
        ("Folder:x", "folder:x"),
        ("digit", "digits"),
    )
    def test_an_unknown_name_is_answered_with_what_there_is(self, spec, meant):
        with self.assertRaises(ValueError) as caught:
            load_source(spec)
        message = str(caught.exception)
        self.assertStartsWith(message, f"--data must be one of {', '.join(sources.SOURCES)}")
        self.assertEndsWith(message, f" Received: {spec}{f'; did you mean {meant}?' if meant else ''}")

    def test_a_flag_given_as_an_option_is_named_as_a_flag(self):
        for spec in ("digits?labels_per_class=5", "tfds:cifar10?labels_per_class=5"):
            with self.assertRaisesRegex(ValueError, r"; did you mean --labels_per_class=5, a flag of its own\?$"):
                load_source(spec)

    @parameterized.parameters("nope", "", "cifar10/nope", "cifar10:9.9.9", "ns/nope", "huggingface:nope", "no pe")
    def test_an_unknown_tfds_name_is_one_line(self, name):
        with self.assertRaises(ValueError) as caught:
            load_source(f"tfds:{name}")
        message = str(caught.exception)
        self.assertStartsWith(message, "--data must be tfds:NAME with a NAME that tensorflow-datasets ")
        self.assertEndsWith(message, f" Received: tfds:{name}")
        self.assertNotIn("\n", message)


class PreparedTest(tf.test.TestCase, parameterized.TestCase):
    def _prepare(self, builder_class):
        folder = self.create_tempdir().full_path
        tfds.core.utils.gcs_utils._is_gcs_disabled = True
        builder_class(data_dir=folder).download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False, num_shards=3)
        )
        return folder

    def test_a_prepared_set_is_read_whole_and_every_time_alike(self):
        folder = self._prepare(SempplWhole)
        source = load_source("tfds:semppl_whole", reading=ReadingSettings(data_dir=folder))
        again = load_source("tfds:semppl_whole", reading=ReadingSettings(data_dir=folder))
        self.assertEqual(source.class_names, ("cat", "dog", "owl"))
        for part, other, count in ((source.train, again.train, 1500), (source.test, again.test, 7)):
            numbers = [int(name.removesuffix(".png")) for name in part.names]
            self.assertCountEqual(numbers, range(count))
            self.assertEqual((part.images.shape, part.images.dtype), ((count, *_SHAPE), np.uint8))
            for number, image, label in zip(numbers, part.images, part.labels, strict=True):
                self.assertTrue((image == number % 251).all())
                self.assertEqual(label, number % 3)
            self.assertEqual(part.labels.dtype, np.int32)
            self.assertEqual(part.names, other.names)
            np.testing.assert_array_equal(part.images, other.images)

    def test_validation_images_stand_in_for_test_images(self):
        source = load_source("tfds:semppl_held_out", reading=ReadingSettings(data_dir=self._prepare(SempplHeldOut)))
        self.assertEqual((len(source.train), len(source.test)), (5, 3))

    def test_images_of_many_sizes_are_left_on_disk(self):
        source = load_source("tfds:semppl_many_sizes", reading=ReadingSettings(data_dir=self._prepare(SempplManySizes)))
        self.assertEqual((len(source.train), len(source.test)), (11, 4))  # the test images have no labels
        for part in (source.train, source.test):
            self.assertEqual(part.channels, 3)
            self.assertEqual(part.labels.dtype, np.int32)
            numbers = [int(name.removesuffix(".png")) for name in part.names]
            self.assertCountEqual(numbers, range(len(part)))
            self.assertEqual(part.labels.tolist(), [number % 3 for number in numbers])
            pictures = [batch[0].numpy() for batch in part.batches(lambda image: image, batch_size=1)]
            for number, picture in zip(numbers, pictures, strict=True):
                self.assertEqual(picture.shape, (4 + number, 9 - number % 5, 3))
                self.assertTrue((picture == number).all())

    def test_masks_of_a_set_in_memory_go_with_their_images_in_training(self):
        folder = self._prepare(SempplMasked)
        source = load_source("tfds:semppl_masked", reading=ReadingSettings(data_dir=folder, mask_feature="background"))
        self.assertIsNone(source.test.masks)
        for name, image, mask in zip(source.train.names, source.train.images, source.train.masks, strict=True):
            number = int(name.removesuffix(".png"))
            self.assertTrue((image == number).all())
            self.assertAllEqual(mask, _mask(number, *_SHAPE[:2])[..., 0])
        self.assertIsNone(load_source("tfds:semppl_masked", reading=ReadingSettings(data_dir=folder)).train.masks)
        with self.assertRaises(ValueError) as caught:
            load_source("tfds:semppl_masked", reading=ReadingSettings(data_dir=folder, mask_feature="kind"))
        allowed = "a picture of tfds:semppl_masked beside image: background"
        self.assertEqual(str(caught.exception), f"--mask_feature must be {allowed}. Received: kind")

    def test_masks_of_a_set_on_disk_go_with_their_images_in_training(self):
        folder = self._prepare(SempplMaskedManySizes)
        reading = ReadingSettings(data_dir=folder, mask_feature="background")
        source = load_source("tfds:semppl_masked_many_sizes", reading=reading)
        rows = tf.data.Dataset.from_tensor_slices({"positions": np.arange(11)})
        for name, row in zip(source.train.names, source.train.map_pictures(rows, lambda row: row), strict=True):
            number = int(name.removesuffix(".png"))
            self.assertAllEqual(row["mask"] > 0, _mask(number, *row["image"].shape[:2])[..., 0] > 0)
        rows = tf.data.Dataset.from_tensor_slices({"positions": np.arange(4)})
        self.assertNotIn("mask", next(iter(source.test.map_pictures(rows, lambda row: row))))

    @parameterized.parameters(
        (
            SempplMaskedOtherwise,
            "semppl_masked_otherwise",
            r"of the images' size, {}\. Received: background, of size {}$",
        ),
        (SempplMaskedAlike, "semppl_masked_alike", r"masks as large as .*: background, {1} for 3.png, {0}$"),
    )
    def test_a_mask_of_another_size_is_refused_by_name(self, builder_class, name, message):
        folder, sizes = self._prepare(builder_class), (re.escape(str(_SHAPE[:2])), re.escape("(2, 3)"))
        with self.assertRaisesRegex(ValueError, "^--mask_feature must be " + message.format(*sizes)):
            load_source(f"tfds:{name}", reading=ReadingSettings(data_dir=folder, mask_feature="background"))

    def test_a_split_may_be_named(self):
        folder = self._prepare(SempplManySizes)
        source = load_source("tfds:semppl_many_sizes:test", reading=ReadingSettings(data_dir=folder))
        self.assertEqual((len(source.train), source.test), (3, None))
        self.assertLen(
            load_source("tfds:semppl_many_sizes:1.0.0:validation", reading=ReadingSettings(data_dir=folder)).train, 4
        )
        self.assertLen(load_source("tfds:semppl_many_sizes:1.0.0", reading=ReadingSettings(data_dir=folder)).train, 11)
        with self.assertRaisesRegex(
            ValueError, "^--test must name one of the splits test, train, validation. Received"
        ):
            load_source("tfds:semppl_many_sizes:none", reading=ReadingSettings(data_dir=folder), flag="test")

    def test_files_of_another_format_are_refused(self):
        folder = self._prepare(functools.partial(SempplManySizes, file_format="array_record"))
        with self.assertRaises(ValueError) as caught:
            load_source("tfds:semppl_many_sizes", reading=ReadingSettings(data_dir=folder))
        received = "tfds:semppl_many_sizes, prepared as array_record"
        self.assertEqual(str(caught.exception), f"--data must be prepared as TFRecords. Received: {received}")

    @parameterized.parameters(
        (SempplUnlabelled, "semppl_unlabelled", "be a classification set, with an image and a label"),
        (SempplUntested, "semppl_untested", "have the splits train and test"),
    )
    def test_a_set_that_is_of_no_use_says_why(self, builder_class, name, reason):
        with self.assertRaises(ValueError) as caught:
            load_source(f"tfds:{name}", reading=ReadingSettings(data_dir=self._prepare(builder_class)))
        self.assertStartsWith(str(caught.exception), f"--data must {reason}")
        self.assertIn(name, str(caught.exception).partition("Received: ")[2])
        self.assertNotIn("\n", str(caught.exception))

    @parameterized.parameters("cifar10", "coco", "mnist_corrupted", "semppl_whole")
    def test_a_set_that_is_not_prepared_is_not_fetched(self, name):
        folder = self.create_tempdir().full_path
        start = time.monotonic()
        with (
            mock.patch.object(tfds.core.utils.gcs_utils, "exists", side_effect=AssertionError("asked the cloud")),
            mock.patch.object(tfds.core.DatasetBuilder, "download_and_prepare", side_effect=AssertionError("fetched")),
            self.assertRaises(ValueError) as caught,
        ):
            load_source(f"tfds:{name}", reading=ReadingSettings(data_dir=folder))
        self.assertLess(time.monotonic() - start, 10)
        self.assertRegex(
            str(caught.exception), f"^--data_dir must hold {name}, prepared with python -c .* Received: {folder}$"
        )
        self.assertEmpty(list(tf.io.gfile.listdir(folder)))

    def test_real_photographs_are_read(self):
        folder = testing.shared_data("tfds/fashion_mnist").parent
        source = load_source("tfds:fashion_mnist", reading=ReadingSettings(data_dir=str(folder)))
        self.assertEqual(source.train.images.shape, (60_000, 28, 28, 1))
        self.assertEqual(np.bincount(source.test.labels).tolist(), [1000] * 10)
        self.assertNotIn(NO_LABEL, source.train.labels)
        self.assertEqual(source.class_names[:2], ("T-shirt/top", "Trouser"))


if __name__ == "__main__":
    tf.test.main()
