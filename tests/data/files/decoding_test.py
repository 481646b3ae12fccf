"""Tests of semppl.data.files.decoding."""

import io
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image, ImageFile

from semppl.data.files.decoding import Decoding, Reason, Unusable, decode_file, decode_mask, encode, shrink
from semppl.data.streaming import decode_picture
from semppl.tests import testing

_GREY = np.linspace(0, 255, 30 * 20).astype(np.uint8).reshape(30, 20)
_COLOURS = np.stack([_GREY, 255 - _GREY, _GREY // 2], -1)


def _file(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _exif(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


class FormatsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("PNG", {}, True),
        ("BMP", {}, False),
        ("TIFF", {}, False),
        ("WEBP", {"lossless": True}, False),
    )
    def test_lossless_formats_give_back_their_pixels(self, kind, options, plain):
        for channels, image in ((3, Image.fromarray(_COLOURS)), (1, Image.fromarray(_GREY))):
            pixels, is_plain = decode_file(_file(image, kind, **options), Decoding(channels=channels))
            self.assertAllEqual(pixels, _COLOURS if channels == 3 else _GREY[..., np.newaxis])
            self.assertEqual((pixels.dtype, is_plain), (np.uint8, plain))

    def test_grey_pictures_get_three_equal_channels(self):
        for kind in ("PNG", "TIFF", "GIF"):
            pixels, _ = decode_file(_file(Image.fromarray(_GREY), kind), Decoding())
            self.assertAllEqual(pixels, np.repeat(_GREY[..., np.newaxis], 3, -1))

    def test_of_an_animation_the_first_frame_is_taken(self):
        frames = [Image.fromarray(np.full((5, 7), value, np.uint8)) for value in (10, 200)]
        for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
            data = _file(frames[0], kind, save_all=True, append_images=frames[1:], **options)
            self.assertAllEqual(decode_file(data, Decoding())[0], np.full((5, 7, 3), 10))

    def test_palettes_are_looked_up(self):
        image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
        expected = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]]
        for kind in ("PNG", "GIF", "BMP", "TIFF"):
            self.assertAllEqual(decode_file(_file(image, kind), Decoding())[0], expected)

    def test_transparency_shows_white_paper(self):
        rgba = np.zeros((1, 3, 4), np.uint8)
        rgba[0, :, 3] = 0, 255, 128  # black ink, none of it, all, half
        pixels, _ = decode_file(_file(Image.fromarray(rgba), "PNG"), Decoding())
        self.assertAllEqual(pixels[0, :, 0], [255, 0, 127])
        index = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        index.putpalette([9, 9, 9, 7, 7, 7])
        for kind in ("PNG", "GIF"):
            pixels, _ = decode_file(_file(index, kind, transparency=1), Decoding())
            self.assertAllEqual(pixels[0, :, 0], [9, 255])
        grey, _ = decode_file(_file(Image.fromarray(np.array([[5, 6]], np.uint8)), "PNG", transparency=5), Decoding())
        self.assertAllEqual(grey[0, :, 0], [255, 6])

    def test_sixteen_bits_become_their_upper_eight(self):
        values = np.array([[0, 257, 32768, 65535]], np.uint16)
        for kind in ("PNG", "TIFF"):
            for channels in (1, 3):
                pixels, _ = decode_file(_file(Image.fromarray(values), kind), Decoding(channels=channels))
                self.assertAllEqual(pixels, np.repeat([[[0], [1], [128], [255]]], channels, -1))

    def test_pixels_without_a_known_range_are_refused(self):
        for values in (np.ones((2, 2), np.float32), np.ones((2, 2), np.int32)):
            with self.assertRaises(Unusable) as caught:
                decode_file(_file(Image.fromarray(values), "TIFF"), Decoding())
            self.assertEqual(caught.exception.reason, Reason.DEPTH)

    def test_cmyk_is_converted(self):
        cmyk = np.zeros((8, 8, 4), np.uint8)
        cmyk[..., 1] = 255  # magenta
        pixels, plain = decode_file(_file(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=100), Decoding())
        self.assertFalse(plain)
        self.assertAllClose(pixels, np.broadcast_to([255, 0, 255], (8, 8, 3)), atol=3)

    @parameterized.product(orientation=tuple(range(1, 9)), kind=("JPEG", "PNG", "TIFF", "WEBP"))
    def test_pictures_are_turned_upright(self, orientation, kind):
        upright = np.zeros((16, 24, 3), np.uint8)
        upright[:8, :8], upright[8:, 16:] = (255, 0, 0), (0, 0, 255)
        turned = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: upright.transpose(1, 0, 2)[::-1],
            7: upright.transpose(1, 0, 2)[::-1, ::-1],
            8: upright.transpose(1, 0, 2)[:, ::-1],
        }[orientation]
        options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
        data = _file(Image.fromarray(np.ascontiguousarray(turned)), kind, exif=_exif(orientation), **options)
        pixels, plain = decode_file(data, Decoding())
        self.assertAllClose(pixels, upright, atol=3)
        self.assertEqual(plain, kind in ("JPEG", "PNG") and orientation == 1)

    def test_what_is_plain_is_what_training_decodes(self):
        for kind in ("JPEG", "PNG"):
            for image in (Image.fromarray(_COLOURS), Image.fromarray(_GREY)):
                data = _file(image, kind)
                for channels in (1, 3):
                    pixels, plain = decode_file(data, Decoding(channels=channels))
                    self.assertTrue(plain)
                    self.assertAllEqual(pixels, decode_picture(tf.constant(data), channels))

    def test_both_decoders_agree_on_jpegs(self):
        data = _file(Image.fromarray(_COLOURS), "JPEG", quality=90)
        ours, _ = decode_file(data, Decoding())
        self.assertAllClose(ours, np.asarray(Image.open(io.BytesIO(data))), atol=1)


class RefusedTest(tf.test.TestCase, parameterized.TestCase):
    def assertRefused(self, data, reason, decoding=None, **options):
        with self.assertRaises(Unusable) as caught:
            decode_file(data, decoding or Decoding(), **options)
        self.assertEqual(caught.exception.reason, reason)

    def test_files_that_are_no_pictures_say_so(self):
        self.assertRefused(b"", Reason.EMPTY)
        self.assertRefused(b"not a picture at all", Reason.UNKNOWN)
        self.assertRefused(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", Reason.UNKNOWN
        )  # Pillow would run a program

    @parameterized.parameters("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
    def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(self, kind):
        data = _file(Image.new("L", (300, 200)), kind)
        with mock.patch.object(ImageFile.ImageFile, "load", side_effect=AssertionError("decoded")):
            self.assertRefused(data, Reason.TOO_LARGE, Decoding(max_pixels=59_999))
        self.assertEqual(decode_file(data, Decoding(max_pixels=60_000))[0].shape, (200, 300, 3))

    def test_what_pillow_refuses_is_refused(self):
        data = bytearray(_file(Image.new("L", (4, 4)), "BMP"))
        data[18:26] = (60_000).to_bytes(4, "little") * 2
        self.assertRefused(bytes(data), Reason.TOO_LARGE, Decoding(max_pixels=2**40))

    @parameterized.parameters("PNG", "JPEG", "BMP", "TIFF")
    def test_truncated_files_are_decoded_as_far_as_they_go_if_asked(self, kind):
        rng = np.random.default_rng(0)
        picture = np.repeat(np.repeat(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8), 8, 0), 8, 1)
        data = _file(Image.fromarray(picture), kind)
        cut = data[: len(data) * 3 // 5]
        with self.assertRaises(Unusable) as caught:
            decode_file(cut, Decoding())
        self.assertIn(caught.exception.reason, (Reason.TRUNCATED, Reason.BROKEN))
        if kind == "TIFF":  # its directory stands at the end
            return
        self.assertEqual(caught.exception.reason, Reason.TRUNCATED)
        pixels, plain = decode_file(cut, Decoding(), truncated=True)
        whole = decode_file(data, Decoding())[0]
        self.assertFalse(plain)
        rows = slice(96, None) if kind == "BMP" else slice(None, 32)  # BMP begins at the bottom
        self.assertAllClose(pixels[rows], whole[rows], atol=4)
        self.assertFalse(ImageFile.LOAD_TRUNCATED_IMAGES)

    def test_random_damage_never_raises_anything_else(self):
        rng = np.random.default_rng(1)
        for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"):
            data = bytearray(_file(Image.fromarray(_COLOURS), kind))
            for _ in range(60):
                damaged = bytearray(data)
                for place in rng.integers(0, min(len(data), 200), 4):
                    damaged[place] = rng.integers(256)
                for truncated in (False, True):
                    try:
                        pixels, _ = decode_file(bytes(damaged), Decoding(max_pixels=10_000), truncated=truncated)
                        self.assertLessEqual(pixels.size, 30_000)
                    except Unusable:
                        pass


class ShrinkTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ((40, 60), (20, 30)), ((60, 40), (30, 20)), ((40, 400), (20, 200)), ((20, 900), (20, 900))
    )
    def test_the_shorter_side_is_shrunk_to_size(self, size, expected):
        self.assertEqual(shrink(np.zeros((*size, 3), np.uint8), 20).shape, (*expected, 3))
        self.assertEqual(shrink(np.zeros((*size, 1), np.uint8), 0).shape, (*size, 1))

    def test_fine_stripes_become_grey_and_not_coarse_ones(self):
        stripes = np.zeros((90, 90, 1), np.uint8)
        stripes[:, ::2] = 255
        self.assertAllClose(shrink(stripes, 30)[2:-2, 2:-2], np.full((26, 26, 1), 127), atol=45)
        self.assertAllClose(shrink(stripes, 30).mean(), 127.5, atol=3)

    def test_a_picture_that_is_shrunk_is_no_longer_the_file(self):
        data = _file(Image.fromarray(_COLOURS), "PNG")
        self.assertFalse(decode_file(data, Decoding(shrink=10))[1])
        self.assertTrue(decode_file(data, Decoding(shrink=20))[1])

    def test_encoded_pixels_come_back(self):
        for pixels in (_COLOURS, _GREY[..., np.newaxis]):
            self.assertAllEqual(decode_picture(tf.constant(encode(pixels)), pixels.shape[-1]), pixels)


class MaskTest(tf.test.TestCase):
    def test_whatever_is_not_black_is_shown(self):
        mask = np.zeros((20, 20), np.uint8)
        mask[:, 10:] = 1  # a number of a class
        self.assertAllEqual(decode_mask(_file(Image.fromarray(mask), "PNG"), Decoding())[..., 0], mask * 255)
        small = decode_mask(_file(Image.fromarray(mask), "PNG"), Decoding(shrink=10))
        self.assertAllEqual(small[..., 0], mask[::2, ::2] * 255)

    def test_transparent_is_background(self):
        rgba = np.full((1, 2, 4), 255, np.uint8)
        rgba[0, 0, 3] = 0
        self.assertAllEqual(decode_mask(_file(Image.fromarray(rgba), "PNG"), Decoding())[0, :, 0], [0, 255])


class RealFilesTest(tf.test.TestCase, parameterized.TestCase):
    """Pillow's own test pictures of one portrait, in many formats."""

    def setUp(self):
        super().setUp()
        self.files = testing.unzipped("edge_cases/edge_cases_dev.zip", pathlib.Path(self.create_tempdir().full_path))

    def decode(self, name, **options):
        return decode_file((self.files / name).read_bytes(), Decoding(), **options)[0].astype(int)

    @parameterized.parameters(
        ("hopper.bmp", 3),
        ("hopper.gif", 8),
        ("hopper.webp", 4),
        ("hopper_orientation_3.jpg", 6),
        ("hopper_orientation_6.jpg", 6),
    )
    def test_the_portrait_is_the_same_in_every_format(self, name, levels):
        portrait = self.decode("hopper.jpg")
        self.assertLess(np.abs(self.decode(name) - portrait).mean(), levels)
        for other in (portrait[::-1], portrait[:, ::-1], portrait.transpose(1, 0, 2)):
            self.assertGreater(np.abs(self.decode(name) - other).mean(), 30)

    def test_every_file_is_a_picture_or_has_a_reason(self):
        reasons = {}
        for path in sorted(self.files.glob("*.*")):
            try:
                pixels = self.decode(path.name)
                self.assertEqual(pixels.shape[-1], 3)
            except Unusable as error:
                reasons[path.name] = error.reason
        self.assertEqual(reasons, {"broken.png": Reason.UNKNOWN, "truncated_jpeg.jpg": Reason.TRUNCATED})
        self.assertEqual(self.decode("truncated_jpeg.jpg", truncated=True).shape, (100, 100, 3))

    def test_known_pictures_look_as_they_should(self):
        grey = self.decode("hopper_gray.jpg")
        self.assertAllEqual(grey[..., 0], grey[..., 2])
        red = self.decode("pil_sample_cmyk.jpg")  # "RED", in red, on black
        self.assertGreater(red[..., 0].mean(), 4 * red[..., 1].mean())
        for name in ("pil123rgba.png", "pil123p.png", "transparent.webp", "uncompressed_la.png"):
            self.assertAllEqual(self.decode(name)[0, 0], [255, 255, 255])
        self.assertEqual(self.decode("1_trns.png")[32, 32].tolist(), [255, 255, 255])


if __name__ == "__main__":
    tf.test.main()
