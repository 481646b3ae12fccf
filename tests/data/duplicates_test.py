"""Tests of semppl.data.duplicates."""

import io
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from semppl.data import duplicates
from semppl.data.combination import joined
from semppl.data.duplicates import Prints, exact_duplicates, near_duplicates
from semppl.data.images import ImageSet
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


def _photograph(seed, size=(60, 80)):
    """Smooth colours, as photographs have them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def _jpeg(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _prints(*pictures):
    parts = [ImageSet(picture[np.newaxis], np.zeros(1, np.int32)) for picture in pictures]
    return Prints.of(joined(parts))


def _groups_by_hand(prints):
    """Connects all similar pairs, one by one."""
    levels = prints.thumbnails.astype(int)
    bits = levels[:, :, 1:] > levels[:, :, :-1]
    group = list(range(len(levels)))
    for i in range(len(levels)):
        for j in range(i):
            unequal = (prints.digests[i] != prints.digests[j]).any()
            if unequal and (bits[i] != bits[j]).sum() <= 3 and np.abs(levels[i] - levels[j]).mean() <= 6:
                group = [group[i] if g == group[j] else g for g in group]
    members = [tuple(k for k, g in enumerate(group) if g == name) for name in set(group)]
    return sorted(one for one in members if len(one) > 1)


class DuplicatesTest(tf.test.TestCase, parameterized.TestCase):
    def test_equal_pixels_are_exact_duplicates_in_groups(self):
        a, b = _photograph(0), _photograph(1)
        prints = _prints(a, b, a, _photograph(2), b, a)
        self.assertEqual(exact_duplicates(prints), [(0, 2, 5), (1, 4)])
        self.assertEqual(near_duplicates(prints), [])

    def test_equal_bytes_of_another_shape_are_not_equal(self):
        flat = np.zeros((4, 6, 3), np.uint8)
        self.assertEqual(exact_duplicates(_prints(flat, flat.reshape(6, 4, 3))), [])

    def test_a_picture_that_was_saved_resized_or_lit_again_is_a_near_duplicate(self):
        original = _photograph(0, (200, 260))
        resized = np.asarray(Image.fromarray(original).resize((130, 100), Image.Resampling.BICUBIC))
        lit = np.clip(original.astype(int) + 4, 0, 255).astype(np.uint8)
        prints = _prints(original, _photograph(3, (200, 260)), _jpeg(original, 40), resized, lit)
        self.assertEqual(near_duplicates(prints), [(0, 2, 3, 4)])

    def test_groups_are_those_that_all_similar_pairs_connect(self):
        rng, pictures = np.random.default_rng(0), []
        for seed in range(6):
            whole = _photograph(seed).astype(int)
            for _ in range(seed + 1):
                whole = np.clip(whole + rng.integers(-12, 13, whole.shape), 0, 255)
                pictures.append(whole.astype(np.uint8))
        order = rng.permutation(len(pictures))
        prints = _prints(*(pictures[i] for i in order), pictures[0])
        self.assertEqual(near_duplicates(prints), _groups_by_hand(prints))
        self.assertGreater(len(near_duplicates(prints)), 2)

    @parameterized.parameters((0, True), (10, True), (63, True), (64, False))
    def test_an_image_is_compared_with_the_next_64_that_share_a_band_of_its_hash(self, between, found):
        rising = np.tile(np.arange(20, 200, 20, dtype=np.uint8), (8, 1))  # every bit is set
        retouched = rising.copy()
        retouched[2::2, 4] = retouched[2::2, 5]  # of bands 1, 2 and 3 one bit each is not: band 0 alone is equal
        falling = rising.copy()
        falling[2:] = falling[2:, ::-1]  # nothing alike but band 0
        thumbnails = np.stack([rising, *[falling] * between, retouched])
        digests = np.random.default_rng(0).integers(0, 256, (between + 2, 16)).astype(np.uint8)
        groups = [(0, between + 1)] * found + [tuple(range(1, between + 1))] * (between > 1)
        self.assertEqual(near_duplicates(Prints(digests, thumbnails)), groups)

    def test_frames_of_one_scene_are_one_group_however_many_there_are(self):
        scene, rng = _photograph(1), np.random.default_rng(0)
        frames = (
            rng.integers(-2, 3, (3000, 8, 9)) + Prints.of(ImageSet(scene[np.newaxis], np.zeros(1, np.int32))).thumbnails
        )
        digests = rng.integers(0, 256, (3000, 16)).astype(np.uint8)
        compared = []
        candidates = duplicates._candidates
        with mock.patch.object(duplicates, "_candidates") as watched:
            watched.side_effect = lambda *arguments: (compared.append(len(p[0])) or p for p in candidates(*arguments))
            groups = near_duplicates(Prints(digests, np.clip(frames, 0, 255).astype(np.uint8)))
        self.assertGreater(len(groups[0]), 2900)
        self.assertLessEqual(sum(compared), 4 * 64 * 3000)  # bands × window × images
        self.assertLessEqual(max(compared), 3000)

    def test_different_pictures_are_not_alike(self):
        prints = _prints(*(_photograph(seed) for seed in range(300)))
        self.assertEqual(near_duplicates(prints), [])

    def test_mirrored_and_turned_pictures_are_not_alike(self):
        picture = _photograph(5)
        self.assertEqual(near_duplicates(_prints(picture, picture[:, ::-1], picture[::-1])), [])

    def test_pictures_without_contrast_are_not_compared(self):
        prints = _prints(*(np.full((9, 9, 3), level, np.uint8) for level in (10, 11, 12, 12)))
        self.assertEqual((near_duplicates(prints), exact_duplicates(prints)), ([], [(2, 3)]))

    def test_images_in_memory_have_the_same_prints_as_files(self):
        pictures = np.stack([_photograph(seed) for seed in range(3)])
        memory = Prints.of(ImageSet(pictures, np.zeros(3, np.int32)))
        files = _prints(*pictures[:2], pictures[2], _photograph(9, (10, 10)))
        self.assertAllEqual(memory.digests, files.digests[:3])
        self.assertAllEqual(memory.thumbnails, files.thumbnails[:3])

    def test_grey_floats_are_compared_too(self):
        digits = np.random.default_rng(0).uniform(0, 1, (3, 8, 8, 1)).astype(np.float32)
        prints = Prints.of(ImageSet(np.concatenate([digits, digits[:1]]), np.zeros(4, np.int32)))
        self.assertEqual(exact_duplicates(prints), [(0, 3)])


if __name__ == "__main__":
    tf.test.main()
