"""Tests of semppl.data.label_split."""

import hashlib
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from semppl.data.label_split import visible_labels
from semppl.data.sources import NO_LABEL, ImageSet, load_source


def _images(labels, names=()):
    labels = np.array(labels, np.int32)
    return ImageSet(np.zeros((len(labels), 2, 2, 1), np.float32), labels, tuple(names))


def _visible(images, **choice):
    return np.flatnonzero(visible_labels(images, **choice) != NO_LABEL).tolist()


def _oracle(labels, counts, seed):
    """Draws per class the images whose keyed hashes are the smallest."""
    chosen = []
    for label, count in counts.items():
        ranks = {}
        for index, its_label in enumerate(labels):
            if its_label == label:
                ranks[hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=16).hexdigest()] = index
        chosen += [ranks[rank] for rank in sorted(ranks)[:count]]
    return sorted(chosen)


class DrawnLabelsTest(parameterized.TestCase):
    # Recorded by this test on Python 3.11, x86-64: what is drawn must be the same on every machine and in every release.
    @parameterized.parameters(
        (1, 0, [24, 470, 529, 565, 946, 984, 1159, 1319, 1484, 1494]),
        (1, 7, [773, 789, 894, 1074, 1308, 1415, 1472, 1475, 1479, 1480]),
        (
            2,
            0,
            [24, 66, 106, 437, 470, 486, 529, 565, 616, 675, 805, 929, 946, 984, 1159, 1182, 1305, 1319, 1484, 1494],
        ),
    )
    def test_the_same_digits_are_drawn_everywhere(self, count, seed, expected):
        self.assertEqual(_visible(load_source("digits").train, labels_per_class=count, seed=seed), expected)

    @parameterized.product(count=(1, 3), seed=(0, 1, 12345))
    def test_the_draw_is_that_of_a_keyed_hash(self, count, seed):
        labels = np.random.default_rng(3).integers(0, 4, 60).tolist()
        visible = _visible(_images(labels), labels_per_class=count, seed=seed)
        self.assertEqual(visible, _oracle(labels, dict.fromkeys(range(4), count), seed))

    def test_visible_labels_are_the_true_ones_and_all_others_are_hidden(self):
        images = _images(np.arange(50) % 5)
        labels = visible_labels(images, labels_per_class=2, seed=4)
        self.assertEqual(labels.dtype, np.int32)
        self.assertLen(labels, 50)
        for index, label in enumerate(labels):
            self.assertIn(label, (NO_LABEL, index % 5))
        self.assertEqual([int(np.sum(labels == label)) for label in range(5)], [2] * 5)

    def test_without_a_choice_every_label_is_seen(self):
        np.testing.assert_array_equal(visible_labels(_images([2, NO_LABEL, 0, 2])), [2, NO_LABEL, 0, 2])

    def test_the_images_own_labels_stay(self):
        images = _images([0, 1] * 4)
        visible_labels(images, labels_per_class=1)
        np.testing.assert_array_equal(images.labels, [0, 1] * 4)

    def test_another_seed_draws_others(self):
        images = _images(np.arange(200) % 2)
        draws = {tuple(_visible(images, labels_per_class=3, seed=seed)) for seed in range(20)}
        self.assertLen(draws, 20)

    def test_the_seed_is_0_by_default(self):
        images = load_source("digits").train
        default, seeded = visible_labels(images, labels_per_class=3), visible_labels(images, labels_per_class=3, seed=0)
        np.testing.assert_array_equal(default, seeded)

    def test_a_larger_draw_holds_the_smaller_one(self):
        images = _images(np.arange(200) % 4)
        few, many = (_visible(images, labels_per_class=count, seed=5) for count in (3, 10))
        self.assertContainsSubset(few, many)

    def test_every_image_has_the_same_chance(self):
        images = _images([0] * 8)
        counts = np.bincount([_visible(images, labels_per_class=1, seed=seed)[0] for seed in range(800)], minlength=8)
        # Binomial(800, 1/8): mean 100, standard deviation 9.4; five of those either side.
        self.assertBetween(counts.min(), 53, 147)
        self.assertBetween(counts.max(), 53, 147)

    @parameterized.parameters(
        (0.1, [2, 1, 1]),  # of 20, 6 and 1 images: 2, 0.6 and 0.1, but at least one
        (0.5, [10, 3, 1]),
        (1.0, [20, 6, 1]),
        (1e-9, [1, 1, 1]),
        (0.13, [3, 1, 1]),  # 2.6 up
        (0.12, [2, 1, 1]),  # 2.4 down
        (0.125, [2, 1, 1]),  # 2.5 to the even number
        (0.175, [4, 1, 1]),  # 3.5 to the even number
        (0.4, [8, 2, 1]),  # of 6: 2.4 down
        (0.43, [9, 3, 1]),  # of 6: 2.58 up; of 20: 8.6 up
    )
    def test_a_fraction_is_taken_of_every_class_and_keeps_at_least_one(self, fraction, expected):
        images = _images([0] * 20 + [1] * 6 + [2])
        labels = visible_labels(images, label_fraction=fraction, seed=3)
        self.assertEqual([int(np.sum(labels == label)) for label in range(3)], expected)

    def test_images_without_a_label_are_never_drawn(self):
        images = _images([0, NO_LABEL, 1, 0, 1])  # one: too few, were they a class
        self.assertEqual(_visible(images, label_fraction=1.0), [0, 2, 3, 4])
        self.assertEqual(_visible(images, labels_per_class=2), [0, 2, 3, 4])

    def test_more_than_there_are_names_the_class_that_is_short(self):
        images = _images([0] * 5 + [1] * 4 + [2] * 3)  # too few in class 1 too, but what is allowed is 3
        self.assertLen(_visible(images, labels_per_class=3), 9)
        for names, name in (((), "2"), (("cat", "dog", "owl"), "owl")):
            with self.assertRaises(ValueError) as caught:
                visible_labels(images, labels_per_class=5, class_names=names)
            allowed = f"at most 3, the labelled images of the smallest class, {name}"
            self.assertEqual(str(caught.exception), f"--labels_per_class must be {allowed}. Received: 5")


class ListedLabelsTest(parameterized.TestCase):
    def _list(self, text):
        path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())) / "list.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def test_listed_positions_stay_visible(self):
        labels = visible_labels(_images([5, 6, 7, 8]), label_list=self._list("3\n\n  0 \n3\n"))
        np.testing.assert_array_equal(labels, [5, NO_LABEL, NO_LABEL, 8])

    def test_listed_names_stay_visible(self):
        images = _images([5, 6, 7], names=["a.png", "b c.png", "ü.png"])
        labels = visible_labels(images, label_list=self._list("b c.png\nü.png\r\n"))
        np.testing.assert_array_equal(labels, [NO_LABEL, 6, 7])

    def test_a_name_that_looks_like_a_number_is_a_name(self):
        images = _images([5, 6, 7], names=["2", "0", "1"])
        np.testing.assert_array_equal(visible_labels(images, label_list=self._list("2\n")), [5, NO_LABEL, NO_LABEL])

    def test_a_name_of_several_images_is_refused_and_their_positions_are_not(self):
        images = _images([5, 6, 7], names=["a", "b", "a"])
        with self.assertRaisesRegex(ValueError, "^--label_list must name one image a line.*Received: 'a' .*line 2"):
            visible_labels(images, label_list=self._list("b\na\n"))
        np.testing.assert_array_equal(visible_labels(images, label_list=self._list("0\nb\n")), [5, 6, NO_LABEL])

    @parameterized.parameters(
        ("0\n4\n", "'4'", 2),
        ("-1\n", "'-1'", 1),
        ("0\n\n1.5", "'1.5'", 3),
        ("0\n2\n", "'2'", 2),  # has no label
        ("1\nnobody.png\n", "'nobody.png'", 2),
    )
    def test_an_entry_that_is_no_labelled_image_names_file_and_line(self, text, entry, line):
        path = self._list(text)
        with self.assertRaises(ValueError) as caught:
            visible_labels(_images([0, 1, NO_LABEL, 1], names=["a", "b", "c", "d"]), label_list=path)
        expected = f"--label_list must list labelled training images. Received: {entry} ({path}, line {line})"
        self.assertEqual(str(caught.exception), expected)

    def test_a_file_of_something_else_names_file_and_line(self):
        path = self._list(b"\x89PNG\xff\xfe" + bytes(500))
        with self.assertRaises(ValueError) as caught:
            visible_labels(_images([0]), label_list=path)
        self.assertStartsWith(str(caught.exception), "--label_list must list labelled training images. Received: ")
        self.assertEndsWith(str(caught.exception), f"({path}, line 1)")
        self.assertLess(len(str(caught.exception)), 1000)

    def test_a_missing_file_is_named(self):
        folder = self.enter_context(tempfile.TemporaryDirectory())
        for path in (f"{folder}/none", folder):
            with self.assertRaisesRegex(ValueError, f"^--label_list must be a file, .* Received: {path}$"):
                visible_labels(_images([0]), label_list=path)


if __name__ == "__main__":
    absltest.main()
