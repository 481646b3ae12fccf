"""Tests of semppl.data.views.geometry."""

import itertools
import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.data.views import geometry
from semppl.tests.data import modes

_AREA, _ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)


def _images(batch, height, width, channels=3):
    return tf.constant(np.random.default_rng(0).uniform(0, 1, (batch, height, width, channels)), tf.float32)


def _draws(batch):
    return tf.constant(np.random.default_rng(1).uniform(0, 1, (batch, 4)), tf.float32)


def _boxes(batch, height, width):
    return geometry.crop_boxes(_draws(batch), height=height, width=width, area=_AREA, aspect=_ASPECT)


def _matrices(*, shift=(0.0, 0.0), zoom=1.0, rotation=0.0, shear=0.0):
    scalars = {"zoom": zoom, "rotation": rotation, "shear": shear}
    return geometry.affine_matrices(
        shift=tf.constant([shift]), **{key: tf.constant([value]) for key, value in scalars.items()}
    )


def _random_matrices(batch):
    rng = np.random.default_rng(2)
    return geometry.affine_matrices(
        shift=tf.constant(rng.uniform(-0.3, 0.3, (batch, 2)), tf.float32),
        zoom=tf.constant(rng.uniform(0.7, 1.5, batch), tf.float32),
        rotation=tf.constant(rng.uniform(-3, 3, batch), tf.float32),
        shear=tf.constant(rng.uniform(-0.5, 0.5, batch), tf.float32),
    )


def _affine_in_loops(image, matrix, size):
    height, width = image.shape[:2]
    result = np.zeros([size, size, image.shape[2]])
    for row, column in itertools.product(range(size), repeat=2):
        point = np.array([(column + 0.5) / size - 0.5, (row + 0.5) / size - 0.5, 1.0])
        x, y = matrix.astype(np.float64) @ point
        x, y = (x + 0.5) * width - 0.5, (y + 0.5) * height - 0.5
        for i, j in itertools.product(range(height), range(width)):
            weight = max(0.0, 1.0 - abs(x - j)) * max(0.0, 1.0 - abs(y - i))
            result[row, column] += weight * image[i, j]
    return result


def _largest_gap(sample):
    """Between the sample's distribution and the uniform one on 0..1 (Kolmogorov and Smirnov)."""
    steps = np.arange(len(sample) + 1) / len(sample)
    return max(np.max(steps[1:] - np.sort(sample)), np.max(np.sort(sample) - steps[:-1]))


class ShiftReflectedTest(tf.test.TestCase):
    def test_it_is_a_crop_of_the_image_padded_by_reflection(self):
        images, offsets = _images(4, 6, 5).numpy(), [[0, 0], [2, -3], [-5, 1], [4, 4]]
        padded = np.pad(images, [(0, 0), (5, 5), (4, 4), (0, 0)], mode="reflect")
        expected = [
            image[5 + down : 11 + down, 4 + right : 9 + right]
            for image, (down, right) in zip(padded, offsets, strict=True)
        ]
        self.assertAllEqual(geometry.shift_reflected(images, tf.constant(offsets)), expected)


class AffineTest(tf.test.TestCase, parameterized.TestCase):
    def test_no_change_returns_the_image(self):
        image = _images(1, 6, 6)
        self.assertAllClose(geometry.affine(image, _matrices(), 6), image, rtol=0, atol=1e-6)

    def test_a_shift_moves_the_content_right_and_down_and_leaves_black(self):
        image = _images(1, 8, 8)
        moved = geometry.affine(image, _matrices(shift=(0.125, 0.25)), 8)
        expected = np.zeros([1, 8, 8, 3])
        expected[:, 2:, 1:] = image[:, :-2, :-1]
        self.assertAllClose(moved, expected, rtol=0, atol=1e-6)

    def test_a_quarter_turn_goes_clockwise(self):
        image = _images(1, 5, 5)
        turned = geometry.affine(image, _matrices(rotation=math.pi / 2), 5)
        self.assertAllClose(turned[0], np.rot90(image[0], -1), rtol=0, atol=1e-5)

    def test_a_shear_of_one_moves_each_row_by_its_height_over_the_centre(self):
        image = _images(1, 5, 5)
        leaning = geometry.affine(image, _matrices(shear=1.0), 5)
        for row in range(5):
            for column in range(5):
                source = column - (row - 2)
                expected = image[0, row, source] if 0 <= source < 5 else [0.0] * 3
                self.assertAllClose(leaning[0, row, column], expected, rtol=0, atol=1e-5)

    def test_a_zoom_of_two_shows_the_middle(self):
        image = _images(1, 8, 8)
        zoomed = geometry.affine(image, _matrices(zoom=2.0), 4)
        self.assertAllClose(zoomed, image[:, 2:6, 2:6], rtol=0, atol=1e-6)

    def test_a_shift_moves_what_was_turned_and_zoomed_before(self):
        image = _images(1, 8, 8)
        still = geometry.affine(image, _matrices(zoom=1.3, rotation=0.4, shear=0.2), 8)
        moved = geometry.affine(image, _matrices(zoom=1.3, rotation=0.4, shear=0.2, shift=(0.25, 0.125)), 8)
        self.assertAllClose(moved[:, 1:, 2:], still[:, :-1, :-2], rtol=0, atol=1e-5)

    @parameterized.parameters((7, 7, 9), (6, 9, 5))
    def test_random_maps_match_loops(self, height, width, size):
        images, matrices = _images(3, height, width, 2), _random_matrices(3)
        result = geometry.affine(images, matrices, size)
        for image, matrix, one in zip(images.numpy(), matrices.numpy(), result, strict=True):
            self.assertAllClose(one, _affine_in_loops(image, matrix, size), rtol=0, atol=1e-5)

    def test_it_agrees_with_tensorflows_projective_transform(self):
        images, matrices = _images(16, 8, 8, 1), _random_matrices(16)
        to_share = np.array([[1 / 8, 0, 0.5 / 8 - 0.5], [0, 1 / 8, 0.5 / 8 - 0.5], [0, 0, 1]])
        full = np.concatenate([matrices, np.tile([[[0.0, 0.0, 1.0]]], [16, 1, 1])], axis=1)
        in_pixels = (np.linalg.inv(to_share) @ full @ to_share).reshape(16, 9)[:, :8]
        expected = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=tf.constant(in_pixels, tf.float32),
            output_shape=[8, 8],
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
            fill_value=0.0,
        )
        self.assertAllClose(geometry.affine(images, matrices, 8), expected, rtol=0, atol=1e-5)

    def test_no_map_mirrors(self):
        self.assertAllGreater(tf.linalg.det(_random_matrices(500)[:, :, :2]), 0.0)

    @parameterized.named_parameters(*modes.ALL)
    def test_it_is_the_same_wherever_it_runs(self, run):
        def turn(images, matrices):
            return geometry.affine(images, matrices, 10)

        arguments = _images(4, 8, 8), _random_matrices(4)
        self.assertAllClose(run(turn, *arguments), turn(*arguments), rtol=0, atol=1e-5)


class CropBoxesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((32, 32), (20, 60), (8, 8))
    def test_boxes_are_whole_pixels_inside_the_image(self, height, width):
        boxes = _boxes(2000, height, width).numpy()
        self.assertAllEqual(boxes, np.round(boxes))
        self.assertAllGreaterEqual(boxes[:, :2], 0)
        self.assertAllGreaterEqual(boxes[:, 2:], 1)
        self.assertAllLessEqual(boxes[:, 0] + boxes[:, 2], height)
        self.assertAllLessEqual(boxes[:, 1] + boxes[:, 3], width)

    def test_boxes_are_drawn_once_and_cut_down_to_the_image(self):
        height, width = 50, 90
        draws = _draws(500).numpy()
        expected = []
        for area, aspect, top, left in draws:
            surface = height * width * (0.08 + 0.92 * area)
            ratio = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * aspect)
            rows = min(round(math.sqrt(surface / ratio)), height)
            columns = min(round(math.sqrt(surface * ratio)), width)
            place = [math.floor(top * (height - rows + 1)), math.floor(left * (width - columns + 1))]
            expected.append([*place, rows, columns])
        self.assertAllEqual(_boxes(500, height, width), expected)
        self.assertGreater(np.sum(np.array(expected)[:, 2] == height), 20)  # some were too tall

    def test_a_box_has_a_pixel_at_least(self):
        draws = tf.zeros([1, 4])
        boxes = geometry.crop_boxes(draws, height=8, width=8, area=(0.0, 1.0), aspect=_ASPECT)
        self.assertAllEqual(boxes, [[0, 0, 1, 1]])

    def test_aspects_are_log_uniform_and_areas_uniform_where_all_fit(self):
        boxes = geometry.crop_boxes(_draws(4000), height=5000, width=5000, area=(0.1, 0.5), aspect=_ASPECT).numpy()
        areas, aspects = boxes[:, 2] * boxes[:, 3] / 25e6, boxes[:, 3] / boxes[:, 2]
        limit = 1.95 / math.sqrt(4000)  # passed once in a thousand
        self.assertLess(_largest_gap((areas - 0.1) / 0.4), limit)
        self.assertLess(_largest_gap((np.log(aspects) / math.log(4 / 3) + 1) / 2), limit)
        self.assertGreater(_largest_gap((aspects - 3 / 4) / (4 / 3 - 3 / 4)), 2 * limit)  # not uniform

    def test_places_are_uniform_over_all_that_fit(self):
        boxes = geometry.crop_boxes(_draws(4000), height=8, width=8, area=(0.25, 0.25), aspect=(1.0, 1.0)).numpy()
        self.assertAllEqual(boxes[:, 2:], np.full([4000, 2], 4.0))
        for start in (boxes[:, 0], boxes[:, 1]):
            counts = np.bincount(start.astype(int), minlength=5)
            self.assertAllInRange(counts, 800 - 120, 800 + 120)  # 4.7 standard deviations
            self.assertLen(counts, 5)


class CropAndResizeTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((20, 24, 7), (20, 24, 16), (20, 24, 32), (9, 5, 12), (40, 33, 224))
    def test_it_matches_tensorflows_bicubic_resize_of_the_cut(self, height, width, size):
        images, boxes = _images(24, height, width), _boxes(24, height, width)
        result = geometry.crop_and_resize(images, boxes, size)
        for image, box, one in zip(images, boxes.numpy().astype(int), result, strict=True):
            cut = image[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
            self.assertAllClose(one, tf.image.resize(cut, [size, size], "bicubic"), rtol=0, atol=1e-5)

    def test_nothing_outside_the_box_is_seen(self):
        image, box = _images(1, 12, 12), tf.constant([[3.0, 2.0, 6.0, 5.0]])
        inside = np.zeros([1, 12, 12, 1], bool)
        inside[:, 3:9, 2:7] = True
        result = geometry.crop_and_resize(tf.where(inside, image, 1e6), box, 16)
        self.assertAllClose(result, geometry.crop_and_resize(image, box, 16), rtol=0, atol=1e-5)

    def test_a_flat_image_stays_flat(self):
        result = geometry.crop_and_resize(tf.fill([50, 16, 16, 3], 0.7), _boxes(50, 16, 16), 11)
        self.assertAllClose(result, tf.fill([50, 11, 11, 3], 0.7), rtol=0, atol=1e-6)

    def test_chosen_results_are_mirrored(self):
        images, boxes = _images(4, 10, 12), _boxes(4, 10, 12)
        plain = geometry.crop_and_resize(images, boxes, 8).numpy()
        mirrored = geometry.crop_and_resize(images, boxes, 8, mirrored=tf.constant([False, True, False, True]))
        self.assertAllEqual(mirrored[::2], plain[::2])
        self.assertAllEqual(mirrored[1::2], plain[1::2, :, ::-1])

    @parameterized.named_parameters(*modes.ALL)
    def test_it_is_the_same_wherever_it_runs(self, run):
        def crop(images, draws):
            boxes = geometry.crop_boxes(draws, height=20, width=24, area=_AREA, aspect=_ASPECT)
            return geometry.crop_and_resize(images, boxes, 16)

        arguments = _images(32, 20, 24), _draws(32)
        self.assertAllClose(run(crop, *arguments), crop(*arguments), rtol=0, atol=1e-5)


if __name__ == "__main__":
    tf.test.main()
