"""Tests of semppl.export.model.decoding."""

import functools
import io
import struct
import zlib

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image, ImageOps

from semppl.data.files.decoding import Decoding, decode_file
from semppl.data.streaming import decode_picture
from semppl.export.model import decoding
from semppl.layers.inputs.preparation import inference_preparation
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)


def _picture(height=13, width=17, channels=3, seed=0):
    """Smooth, so that JPEG keeps it, and different in every corner."""
    small = np.random.default_rng(seed).uniform(0, 255, (3, 3, channels))
    return tf.cast(tf.clip_by_value(tf.image.resize(small, [height, width]), 0, 255), tf.uint8).numpy()


def _encoded(pixels, kind, **settings):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, kind, **settings)
    return file.getvalue()


def _jpeg(pixels, orientation=None, *, order=">", before=b""):
    """A JPEG file with an EXIF segment by hand: its tag is the second of three, after `before`."""
    plain = _encoded(pixels, "JPEG", quality=95)
    if orientation is None:
        return plain
    tags = b"".join(
        struct.pack(f"{order}HHIHxx", tag, 3, 1, value) for tag, value in ((256, 9), (274, orientation), (296, 7))
    )
    tiff = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 12) + b"pad!"
    tiff += struct.pack(f"{order}H", 3) + tags + bytes(4)
    exif = b"Exif\0\0" + tiff
    return plain[:2] + before + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]


def _chunk(kind, data):
    """Of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of(height, width):
    """The first bytes of a PNG file of any size, and hardly any pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(64)))
        + _chunk(b"IEND", b"")
    )


@functools.cache
def _graph(channels, **settings):
    return tf.function(lambda file: decoding.decode_upright(file, channels, **settings))


def tearDownModule():
    _graph.cache_clear()  # at the end of the process, TensorFlow is gone before its functions


def _decode(encoded, channels=3, **settings):
    """In a graph, where a picture's size is not known."""
    return _graph(channels, **settings)(tf.constant(encoded)).numpy()


def _decode_by_pillow(encoded, channels):
    pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _grey_png(levels, depth):
    """Writes `[H, W]` levels of `depth` bits, a whole number of bytes a row, which Pillow would write with 8."""
    height, width = levels.shape
    bits = (levels[..., np.newaxis] >> np.arange(depth)[::-1]) & 1
    rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + body + _chunk(b"IEND", b"")


class DecodeUprightTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(("JPEG", 1), ("JPEG", 3), ("PNG", 1), ("PNG", 3), ("BMP", 3))
    def test_an_upright_picture_is_decoded_as_evaluation_decodes_it(self, kind, channels):
        encoded = _encoded(_picture(channels=channels), kind)
        decoded = _decode(encoded, channels)
        self.assertEqual(decoded.shape, (13, 17, channels))
        self.assertAllEqual(decoded, decode_picture(tf.constant(encoded), channels))

    @parameterized.product(channels=[1, 3], kind=["LA", "RGBA", "P", "grey of one level"])
    def test_what_is_transparent_shows_white_as_in_training(self, channels, kind):
        picture, file = Image.fromarray(_picture(channels=3)), io.BytesIO()
        opacity = Image.fromarray(np.linspace(0, 255, 13 * 17).reshape(13, 17).astype(np.uint8))
        options = {}
        if kind == "P":
            picture, options = picture.quantize(16), {"transparency": 3}
        elif kind == "grey of one level":
            picture = picture.convert("L")
            options = {"transparency": picture.getpixel((2, 2))}
        else:
            picture = picture.convert(kind)
            picture.putalpha(opacity)
        picture.save(file, "PNG", **options)
        expected, _ = decode_file(file.getvalue(), Decoding(channels=channels))
        decoded = _decode(file.getvalue(), channels)
        self.assertAllEqual(decoded, expected)
        self.assertNotAllClose(decoded, decode_picture(tf.constant(file.getvalue()), channels), atol=9)

    @parameterized.product(channels=[1, 3], mode=["L", "RGB"])
    def test_a_bmp_file_is_taken_by_either_kind_of_encoder(self, channels, mode):
        file = io.BytesIO()
        Image.fromarray(_picture(channels=3)).convert(mode).save(file, "BMP")
        expected, _ = decode_file(file.getvalue(), Decoding(channels=channels))
        self.assertAllEqual(_decode(file.getvalue(), channels), expected)

    @parameterized.product(channels=[1, 3], depth=[1, 2, 4])
    def test_grey_png_files_of_few_levels_are_decoded_as_in_training(self, channels, depth):
        file = _grey_png(np.random.default_rng(depth).integers(0, 2**depth, [7, 16]), depth)
        expected, _ = decode_file(file, Decoding(channels=channels))
        self.assertEqual(len(np.unique(expected)), 2**depth)
        self.assertAllEqual(_decode(file, channels), expected)

    @parameterized.product(channels=[1, 3], mode=["1", "RGB", "P2", "P4", "P16", "P17", "P", "I;16"])
    def test_opaque_png_files_are_decoded_as_in_training(self, channels, mode):
        file = io.BytesIO()
        if mode[0] == "P" and mode[1:]:
            Image.fromarray(_picture(channels=3)).quantize(int(mode[1:])).save(file, "PNG")
        elif mode == "I;16":
            Image.fromarray((np.arange(13 * 17).reshape(13, 17) * 296).astype(np.uint16)).save(file, "PNG")
        else:
            Image.fromarray(_picture(channels=3)).convert(mode).save(file, "PNG")
        expected, _ = decode_file(file.getvalue(), Decoding(channels=channels))
        self.assertAllEqual(_decode(file.getvalue(), channels), expected)

    @parameterized.parameters(1, 3)
    def test_a_cmyk_jpeg_is_refused(self, channels):
        file = io.BytesIO()
        Image.fromarray(_picture(channels=3)).convert("CMYK").save(file, "JPEG")
        with self.assertRaises(tf.errors.InvalidArgumentError):
            _decode(file.getvalue(), channels)

    @parameterized.parameters(1, 3)
    def test_deep_grey_with_a_transparent_level_is_decoded_as_in_training(self, channels):
        levels = np.random.default_rng(0).integers(0, 2**16, [13, 17], np.uint16)
        file = io.BytesIO()
        Image.fromarray(levels).save(file, "PNG")
        plain = file.getvalue()
        body = b"tRNS" + struct.pack(">H", levels[3, 4])
        chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
        place = plain.index(b"IDAT") - 4
        encoded = plain[:place] + chunk + plain[place:]
        expected, _ = decode_file(encoded, Decoding(channels=channels))
        self.assertAllEqual(expected[3, 4], [255] * channels)
        self.assertAllEqual(_decode(encoded, channels), expected)

    @parameterized.parameters(1, 3)
    def test_a_jpeg_of_many_scans_is_refused(self, channels):
        plain = _encoded(_picture(), "JPEG", progressive=True)
        scans, last = plain.count(b"\xff\xda"), plain[plain.rindex(b"\xff\xda") : -2]
        files = {count: plain[:-2] + last * (count - scans) + plain[-2:] for count in (100, 101, 20_000)}
        self.assertEqual(_decode(files[100], channels).shape, (13, 17, channels))
        for count in (101, 20_000):
            self.assertEqual(files[count].count(b"\xff\xda"), count)
            with self.assertRaisesRegex(tf.errors.InvalidArgumentError, "A JPEG file of more scans than"):
                _decode(files[count], channels)

    @parameterized.parameters(1, 3)
    def test_ordinary_jpeg_files_have_few_scans(self, channels):
        thumbnail = _encoded(_picture(5, 6), "JPEG", progressive=True)
        film = b"\xff\xda\x12" * 500  # as phones write it behind a picture
        progressive = _encoded(_picture(), "JPEG", progressive=True)
        with_thumbnail = _encoded(_picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08" + bytes(6) + thumbnail)
        self.assertIn(thumbnail, with_thumbnail)
        for encoded in (progressive, with_thumbnail, progressive + film):
            expected, _ = decode_file(encoded, Decoding(channels=channels))
            self.assertAllEqual(_decode(encoded, channels), expected)

    def test_a_bmp_file_with_a_palette_is_refused(self):
        file = io.BytesIO()
        Image.fromarray(_picture(channels=3)).quantize(256).save(file, "BMP")
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, "A BMP file with a palette"):
            _decode(file.getvalue(), 1)

    @parameterized.product(channels=[1, 3], compression=[0, 3, 2**31])
    def test_a_bmp_file_that_says_which_bits_are_which_colour_is_refused(self, channels, compression):
        pixels = np.random.default_rng(0).integers(0, 256, [4, 5, 4], np.uint8).tobytes()
        masks = struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)  # red first; without them, blue is
        size, start = struct.pack("<iiHH", 5, 4, 1, 32), 14 + 40 + len(masks)
        info = struct.pack("<I", 40) + size + struct.pack("<IIiiII", compression, len(pixels), 2835, 2835, 0, 0)
        encoded = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + masks + pixels
        if compression == 0:
            expected, _ = decode_file(encoded, Decoding(channels=channels))
            self.assertAllEqual(_decode(encoded, channels), expected)
        else:
            with self.assertRaisesRegex(tf.errors.InvalidArgumentError, "A BMP file of compression"):
                _decode(encoded, channels)

    @parameterized.product(orientation=list(range(1, 9)), order=["<", ">"])
    def test_every_orientation_is_undone_as_pillow_undoes_it(self, orientation, order):
        encoded = _jpeg(_picture(), orientation, order=order)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))
        self.assertEqual(expected.shape, (13, 17, 3) if orientation < 5 else (17, 13, 3))
        self.assertAllEqual(_decode(encoded), expected)

    @parameterized.product(orientation=[None, *range(10), 65535], pixels=[1, 3], channels=[1, 3])
    def test_a_jpeg_is_turned_and_made_grey_as_in_training(self, orientation, pixels, channels):
        encoded = _jpeg(_picture(channels=pixels), orientation)
        expected, _ = decode_file(encoded, Decoding(channels=channels))
        self.assertEqual(expected.shape[0], 17 if orientation in (5, 6, 7, 8) else 13)
        self.assertAllEqual(_decode(encoded, channels), expected)

    @parameterized.product(orientation=[0, 9], channels=[1, 3])
    def test_an_orientation_that_makes_no_sense_makes_a_png_as_grey_as_in_training(self, orientation, channels):
        file, exif = io.BytesIO(), Image.Exif()
        exif[274] = orientation
        Image.fromarray(_picture(channels=3)).save(file, "PNG", exif=exif)
        expected, _ = decode_file(file.getvalue(), Decoding(channels=channels))
        self.assertAllEqual(_decode(file.getvalue(), channels), expected)

    @parameterized.named_parameters(
        ("after_a_comment", b"\xff\xfe\x00\x05abc"), ("after_other_metadata", b"\xff\xe1\x00\x08http\0\0")
    )
    def test_the_orientation_is_found(self, before):
        self.assertEqual(_decode(_jpeg(_picture(), 6, before=before)).shape, (17, 13, 3))

    @parameterized.parameters(0, 9, 65535)
    def test_an_orientation_that_makes_no_sense_is_upright(self, orientation):
        self.assertAllEqual(_decode(_jpeg(_picture(), orientation)), _decode(_jpeg(_picture())))

    @parameterized.product(orientation=list(range(1, 9)), channels=[1, 3])
    def test_a_png_is_turned_as_in_training(self, orientation, channels):
        file, exif = io.BytesIO(), Image.Exif()
        exif[274] = orientation
        Image.fromarray(_picture(channels=3)).save(file, "PNG", exif=exif)
        expected, _ = decode_file(file.getvalue(), Decoding(channels=channels))
        self.assertEqual(expected.shape[0], 17 if orientation >= 5 else 13)
        self.assertAllEqual(_decode(file.getvalue(), channels), expected)

    @parameterized.parameters(1, 3)
    def test_a_png_is_turned_wherever_its_chunk_stands(self, channels):
        exif = _chunk(b"eXIf", struct.pack("<2sHIHHHIHxx", b"II", 42, 8, 1, 274, 3, 1, 6) + bytes(4))
        plain = _encoded(_picture(channels=3), "PNG")
        texts = _chunk(b"tEXt", b"Comment\0eXIf") + _chunk(b"tEXt", bytes(1000))
        turned = np.rot90(_decode_by_pillow(plain, channels), -1)
        head, end = 8 + 25, len(plain) - 12
        for file in (
            plain[:head] + exif + plain[head:],
            plain[:head] + texts + exif + plain[head:],
            plain[:end] + exif + plain[end:],
        ):
            self.assertAllEqual(_decode(file, channels), turned)
            self.assertAllEqual(decode_file(file, Decoding(channels=channels))[0], turned)
        self.assertAllEqual(_decode(plain[:head] + texts + plain[head:], channels), _decode(plain, channels))

    def test_no_mutated_header_is_more_than_refused(self):
        rng = np.random.default_rng(0)
        function = tf.function(decoding.exif_orientation, input_signature=[tf.TensorSpec([None], tf.int32)])
        whole = np.frombuffer(_jpeg(_picture(), 6), np.uint8)[:200].astype(np.int32)
        for _ in range(200):
            mutated = whole[: rng.integers(1, len(whole))].copy()
            mutated[rng.integers(0, len(mutated), 3)] = rng.integers(0, 256, 3)
            self.assertBetween(int(function(mutated)), 0, 2**16 - 1)

    @parameterized.named_parameters(
        ("png", _png_of(20_000, 20_000)),
        ("png_with_a_side_below_zero", _png_of(2**32 - 1, 2**32 - 1)),
        ("png_of_nothing", _png_of(0, 10)),
        ("bmp", b"BM" + bytes(16) + struct.pack("<ii", 20_000, -20_000) + bytes(64)),
        ("gif", _encoded(_picture(channels=1), "GIF")),
        ("text", b"a text"),
        ("empty", b""),
        ("half", _encoded(_picture(), "PNG")[:100]),
        ("half_jpeg", _encoded(_picture(200, 200), "JPEG")[:700]),
    )
    def test_what_is_no_picture_or_too_large_a_one_is_refused(self, encoded):
        with self.assertRaises(tf.errors.InvalidArgumentError):
            _decode(encoded)

    @parameterized.parameters("JPEG", "PNG", "BMP")
    def test_the_limit_is_that_of_pixels_not_of_sides(self, kind):
        encoded = _encoded(_picture(10, 40), kind)
        self.assertEqual(_decode(encoded, max_pixels=400).shape, (10, 40, 3))
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, "400"):
            _decode(encoded, max_pixels=399)

    def test_the_largest_pictures_of_phones_are_allowed(self):
        self.assertBetween(decoding.MAX_PIXELS, 8192 * 6144, 70_000_000)


class DecodeRowsTest(tf.test.TestCase, parameterized.TestCase):
    def _rows(self, encoded, centre_crop=7 / 8):
        prepare = inference_preparation(8, centre_crop=centre_crop)
        function = tf.function(
            lambda files: decoding.decode_rows(files, prepare, size=8, channels=3),
            input_signature=[tf.TensorSpec([None], tf.string)],
        )
        return [part.numpy() for part in function(tf.constant(encoded, tf.string))]

    @parameterized.parameters(7 / 8, 1.0)
    def test_pictures_are_prepared_as_evaluation_prepares_them(self, centre_crop):
        pictures = [_picture(13 + number, 40 - number, seed=number) for number in range(9)]
        images, valid = self._rows([_encoded(pixels, "PNG") for pixels in pictures], centre_crop)
        self.assertAllEqual(valid, [True] * 9)
        expected = [inference_preparation(8, centre_crop=centre_crop)(pixels[np.newaxis])[0] for pixels in pictures]
        self.assertAllClose(images, expected, rtol=0, atol=1e-6)

    def test_a_broken_picture_leaves_its_neighbours_alone(self):
        good = [_encoded(_picture(seed=number), "PNG") for number in range(3)]
        alone, _ = self._rows(good)
        images, valid = self._rows([b"", good[0], b"rubbish", _png_of(30_000, 30_000), good[1], good[2], good[2][:60]])
        self.assertAllEqual(valid, [False, True, False, False, True, True, False])
        self.assertAllEqual(images[[1, 4, 5]], alone)
        self.assertAllEqual(images[[0, 2, 3, 6]], np.zeros((4, 8, 8, 3)))

    @parameterized.parameters(0, 1, 2)
    def test_one_broken_picture_leaves_the_others_in_their_places(self, place):
        files = [_encoded(_picture(seed=number), "PNG") for number in range(2)]
        alone, _ = self._rows(files)
        images, valid = self._rows([*files[:place], b"rubbish", *files[place:]])
        self.assertAllEqual(valid, np.arange(3) != place)
        self.assertAllEqual(images[valid], alone)

    @parameterized.parameters(0, 1, 3)
    def test_a_batch_of_nothing_but_rubbish_has_its_rows(self, count):
        images, valid = self._rows([b"rubbish"] * count)
        self.assertEqual(images.shape, (count, 8, 8, 3))
        self.assertAllEqual(valid, [False] * count)


if __name__ == "__main__":
    tf.test.main()
