"""Tests of semppl.data.splits and semppl.data.combination: what a run trains on and what it is judged by."""

import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
import shutil
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.combination import joined, renumbered
from semppl.data.images import NO_LABEL, ImageSet, Source
from semppl.data.sources import load_source
from semppl.data.splits import hold_out, load_splits, require_shrinkable, split_specs
from semppl.data.streaming import StreamedImageSet
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


def _images(labels, first=0, names=(), groups=None, size=4):
    """Images whose grey level is the number of the image."""
    levels = np.arange(first, first + len(labels), dtype=np.uint8)
    pixels = np.broadcast_to(levels[:, np.newaxis, np.newaxis, np.newaxis], (len(labels), size, size, 1)).copy()
    return ImageSet(pixels, np.array(labels, np.int32), names, groups=groups)


def _levels(images, positions=None):
    return [int(batch[0, 0, 0, 0]) for batch in images.batches(lambda image: image, batch_size=1, positions=positions)]


class HoldOutTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(0.1, 0.3, 0.5)
    def test_a_share_of_every_class_is_held_out_and_nothing_else(self, share):
        labels = [0] * 40 + [1] * 10 + [NO_LABEL] * 50
        remaining, held_out = hold_out(_images(labels), share, seed=0)
        self.assertCountEqual([*remaining, *held_out], range(100))
        self.assertEqual(np.bincount(np.array(labels)[held_out]).tolist(), [40 * share, 10 * share])

    @parameterized.parameters((0.13, 3, 1), (0.12, 2, 1), (0.125, 2, 1), (0.175, 4, 1), (0.43, 9, 3), (0.99, 19, 5))
    def test_the_share_of_a_class_is_rounded_to_one_at_least_and_never_to_all(self, share, of_twenty, of_six):
        labels = np.array([0] * 20 + [1] * 6)
        _, held_out = hold_out(_images(labels), share, seed=0)
        self.assertEqual(np.bincount(labels[held_out]).tolist(), [of_twenty, of_six])

    def test_the_draw_is_the_seeds_and_does_not_hang_on_order(self):
        names = tuple(f"{number}.png" for number in range(60))
        drawn = {names[i] for i in hold_out(_images([0] * 60, names=names), 0.2, seed=1)[1]}
        self.assertEqual(
            drawn, {names[::-1][i] for i in hold_out(_images([0] * 60, names=names[::-1]), 0.2, seed=1)[1]}
        )
        for options in ({"seed": 2}, {"seed": 1, "flag": "validation"}):
            other = {names[i] for i in hold_out(_images([0] * 60, names=names), 0.2, **options)[1]}
            self.assertLen(other, 12)
            self.assertNotEqual(drawn, other)

    def test_the_draw_is_the_same_on_every_machine(self):
        self.assertEqual(hold_out(_images([0] * 12), 0.25, seed=0)[1].tolist(), self._by_hand(12, 3))

    def _by_hand(self, count, wanted):
        def rank(position):
            return hashlib.blake2b(f"test 0:{position}".encode(), digest_size=16).digest()

        return sorted(sorted(range(count), key=rank)[:wanted])

    def test_a_class_never_loses_its_last_image(self):
        remaining, held_out = hold_out(_images([0, 1, 1]), 0.9, seed=0)
        self.assertIn(0, remaining)
        self.assertLen(held_out, 1)

    def test_images_of_the_same_thing_stay_together(self):
        groups = np.repeat(np.arange(20), 3)
        labels = np.where(np.arange(60) % 3 == 2, NO_LABEL, np.repeat(np.arange(2), 30))
        remaining, held_out = hold_out(_images(labels, groups=groups), 0.3, seed=0)
        self.assertEmpty(set(groups[remaining]) & set(groups[held_out]))
        self.assertLen(held_out, 18)  # 3 groups of each class, 2 of 3 images labelled

    def test_without_labels_there_is_nothing_to_judge_by(self):
        with self.assertRaisesRegex(ValueError, "^--test must be a source, where no training image has a label"):
            hold_out(_images([NO_LABEL] * 3), 0.5, seed=0)


class JoinedTest(tf.test.TestCase):
    def test_images_of_one_kind_stay_in_memory(self):
        both = joined([_images([0, 1], names=("a", "b")), _images([1], first=7)])
        self.assertIsInstance(both, ImageSet)
        self.assertEqual((_levels(both), both.labels.tolist(), both.names), ([0, 1, 7], [0, 1, 1], ("a", "b", "")))

    def test_images_of_many_kinds_are_read_in_any_order(self):
        floats = ImageSet(np.full((2, 5, 5, 1), 0.2, np.float32), np.zeros(2, np.int32))
        small, large = _images([0, 1, 0], size=3), _images([1] * 4, first=10, size=6)
        all_ = joined([small, floats, joined([large, floats])])
        self.assertIsInstance(all_, StreamedImageSet)
        self.assertLen(all_, 11)
        self.assertEqual(_levels(all_), [0, 1, 2, 51, 51, 10, 11, 12, 13, 51, 51])
        self.assertEqual(_levels(all_, np.array([8, 0, 3, 5, 8])), [13, 0, 51, 10, 13])

    def test_a_part_without_masks_hides_nothing(self):
        masked = ImageSet(np.zeros((1, 4, 4, 1), np.uint8), np.zeros(1, np.int32), masks=np.zeros((1, 4, 4), np.uint8))
        both = joined([masked, _images([0], size=3)])
        rows = tf.data.Dataset.from_tensor_slices({"positions": tf.constant([1, 0], tf.int64)})
        masks = [row["mask"].numpy() for row in both.map_pictures(rows, lambda row: row)]
        self.assertAllEqual(masks[0], np.ones((3, 3)))
        self.assertAllEqual(masks[1], np.zeros((4, 4)))

    def test_groups_of_different_parts_stay_apart(self):
        both = joined(
            [_images([0] * 3, groups=np.array([0, 0, 2])), _images([0] * 2), _images([0], groups=np.array([0]))]
        )
        self.assertEqual(both.groups.tolist(), [0, 0, 2, 3, 4, 5])

    def test_labels_follow_their_names(self):
        labels = np.array([0, NO_LABEL, 1, 0])
        self.assertEqual(renumbered(labels, ("owl", "cat"), ("cat", "dog", "owl")).tolist(), [2, NO_LABEL, 0, 2])

    def test_selected_images_are_those(self):
        for images in (_images([3, 4, 5], names=("a", "b", "c")), joined([_images([3, 4]), _images([5], 2, size=9)])):
            selected = images.select(np.array([2, 0]))
            self.assertEqual((_levels(selected), selected.labels.tolist()), ([2, 0], [5, 3]))
            self.assertEqual(selected.names, ("c", "a") if images.names else ())


class LoadDataTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enter_context(mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(self.folder / "user")}))
        self.enter_context(contextlib.redirect_stderr(io.StringIO()))
        for split, classes in (("train", ("cat", "owl")), ("test", ("owl",)), ("strange", ("dog",))):
            for name in classes:
                (self.folder / split / name).mkdir(parents=True)
                for number in range(5):
                    image = Image.fromarray(np.full((9, 9 + number), number, np.uint8))
                    image.save(self.folder / split / name / f"{number}.png")

    def load(self, **changes):
        settings = {"data": f"folder:{self.folder}/train?labels=folders", "pixel_mean": (0.5,), "pixel_stddev": (0.5,)}
        return load_splits(Hyperparameters(**settings | changes))

    def assertRefused(self, message, **changes):
        with self.assertRaisesRegex(ValueError, message) as caught:
            self.load(**changes)
        self.assertNotIn("\n", str(caught.exception))

    def test_a_set_that_has_test_images_keeps_them(self):
        source, plain = self.load(data="digits", labels_per_class=1), load_source("digits")
        self.assertAllEqual(source.train.images, plain.train.images)
        self.assertAllEqual(source.test.images, plain.test.images)
        self.assertIsNone(source.validation)

    def test_a_folder_has_no_test_images_until_some_are_named(self):
        source = self.load()
        with self.assertRaisesRegex(ValueError, "^--test must give held-out images: .* Received: none$"):
            source.held_out("test")
        source = self.load(test=f"folder:{self.folder}/test?labels=folders")
        self.assertEqual(source.class_names, ("cat", "owl"))
        self.assertEqual(source.held_out("test").labels.tolist(), [1] * 5)  # in the test folder alone owl would be 0

    def test_every_source_to_judge_by_is_used(self):
        source = self.load(
            data=f"digits,folder:{self.folder}/train?labels=folders",
            test=f"digits,folder:{self.folder}/test?labels=folders",
        )
        digits = load_source("digits").test
        self.assertEqual(len(source.test), len(digits) + 5)
        names = [source.class_names[label] for label in source.test.labels.tolist()]
        self.assertEqual(names[-5:], ["owl"] * 5)
        self.assertEqual(names[:-5], [str(label) for label in digits.labels.tolist()])

    def test_images_without_labels_are_none_to_judge_by(self):
        with self.assertRaisesRegex(ValueError, r"^--test must have labels, .* Received: 5 images without a label$"):
            self.load(test=f"folder:{self.folder}/test")

    def test_a_share_that_cannot_be_held_out_is_refused(self):
        with self.assertRaisesRegex(
            ValueError, "^--validation must be a source, where no class has a labelled image to"
        ):
            self.load(test="0.9", validation="0.9")

    def test_shrinking_is_refused_where_nothing_would_be_shrunk(self):
        settings = Hyperparameters(data="digits", label_fraction=0.1, shrink=16, pixel_mean=(0.5,), pixel_stddev=(0.5,))
        with self.assertRaisesRegex(ValueError, r"^--shrink must be 0 .*folder: or tfrecord:.* Received: 16$"):
            require_shrinkable(settings)
        require_shrinkable(dataclasses.replace(settings, data="digits,folder:a"))

    def test_test_and_validation_images_are_held_out(self):
        source = self.load(test="0.2", validation="0.25")
        self.assertEqual([len(part) for part in (source.train, source.validation, source.test)], [6, 2, 2])
        names = [*source.train.names, *source.validation.names, *source.test.names]
        self.assertCountEqual(names, self.load().train.names)
        digits = self.load(data="digits", label_fraction=0.1, test="0.1")
        self.assertEqual((len(digits.train), len(digits.test)), (1351, 149))

    def test_another_sets_test_images_are_its_own(self):
        source = self.load(data="digits", labels_per_class=1, validation="digits")
        self.assertAllEqual(source.validation.images, load_source("digits").test.images)

    def test_sources_are_combined_by_the_names_of_their_classes(self):
        more = f"folder:{self.folder}/test?labels=folders,folder:{self.folder}/strange?labels=folders"
        source = self.load(data=f"digits,folder:{self.folder}/train?labels=folders,{more}")
        self.assertEqual(source.class_names, (*"0123456789", "cat", "owl", "dog"))
        self.assertLen(source.train, 1500 + 10 + 5 + 5)
        self.assertEqual(source.train.labels[1500:].tolist(), [10] * 5 + [11] * 10 + [12] * 5)
        self.assertEqual(_levels(source.train, np.array([1502, 1512])), [2, 2])
        self.assertLen(source.test, 297)

    def test_sources_of_other_channels_do_not_go_together(self):
        self.assertRefused(
            r"^--data must be images of the same number of channels\. Received: digits: 1, folder:.*: 3$",
            data=f"digits,folder:{self.folder}/train",
            pixel_mean=(0.5,) * 3,
            pixel_stddev=(0.5,) * 3,
        )

    def test_classes_that_training_knows_nothing_of_are_named(self):
        self.assertRefused(
            "^--test must have classes of the training images. Received: dog$",
            test=f"folder:{self.folder}/strange?labels=folders",
        )

    def test_training_of_one_class_is_named_before_the_test_images_are_blamed(self):
        only = self.folder / "only" / "cat"
        shutil.copytree(self.folder / "train" / "cat", only)
        self.assertRefused(
            "^--data must have labels of two or more classes. Received: only 'cat'$",
            data=f"folder:{self.folder}/only?labels=folders",
            test=f"folder:{self.folder}/train?labels=folders",
        )

    @parameterized.parameters("validation", "test")
    def test_errors_name_their_flag(self, flag):
        self.assertRefused(
            f"^--{flag} must be one of digits, .* Received: nope; did you mean folder:nope\\?$", **{flag: "nope"}
        )
        self.assertRefused(
            f"^--{flag} must name an existing folder after folder:. Received: nope$", **{flag: "folder:nope"}
        )

    def test_commas_in_paths_are_no_commas_between_sources(self):
        self.assertEqual(split_specs("folder:a,b?labels=c,d.csv"), ["folder:a,b?labels=c,d.csv"])
        self.assertEqual(split_specs("digits,folder:a,tfds:b:c,digits"), ["digits", "folder:a", "tfds:b:c", "digits"])

    def test_a_comma_in_the_name_of_a_folder_is_no_separator(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(root)
        for name in ("a,folder:b", "letters,digits", "c,tfds:d", "x?labels=y"):
            (root / name).mkdir()
        (root / "one,digits.tfrecord").touch()
        (root / "two,digits").touch()
        for spec in ("folder:a,folder:b?labels=folders", "folder:letters,digits", "tfrecord:two,digits"):
            self.assertEqual(split_specs(spec), [spec])
            self.assertEqual(split_specs(f"digits,{spec},tfds:b:c"), ["digits", spec, "tfds:b:c"])
        self.assertEqual(split_specs("folder:c,tfds:d,digits"), ["folder:c,tfds:d", "digits"])
        (root / "letters").mkdir()
        message = "told from each other: 'folder:letters,digits' exists, and so do 'folder:letters' and 'digits'"
        with self.assertRaisesRegex(ValueError, message):
            split_specs("folder:letters,digits")

    def test_a_source_gives_what_it_has(self):
        self.assertLen(Source(_images([0]), _images([0, 0]), ("a",)).held_out("test"), 2)


if __name__ == "__main__":
    tf.test.main()
