"""Decoding of picture files: TensorFlow decodes the files that it decodes correctly, Pillow the others.

TensorFlow is imported when it decodes: the client converts files without it.
"""

import contextlib
import dataclasses
import enum
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from semppl.configs.reading import ReadingSettings

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
)
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")  # of Pillow's many; the others are less tried
_LENIENT = threading.Lock()  # Pillow has one switch for the whole process


class Reason(str, enum.Enum):
    """The reason for which a file is skipped."""

    UNREADABLE = "cannot be read"
    EMPTY = "empty"
    UNKNOWN = "of no known format"
    TOO_LARGE = "too many pixels"
    TRUNCATED = "truncated"
    BROKEN = "broken"
    DEPTH = "pixels of an unknown range"
    MASK = "mask missing or broken"
    MASK_SIZE = "mask of another size"

    def __str__(self) -> str:
        return self.value


class Unusable(ValueError):
    """A picture file that cannot be used, with a reason and details."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True)
class Decoding:
    """The settings with which picture files are decoded.

    Attributes:
        channels: Number of channels, 1 or 3.
        max_pixels: Maximum number of pixels; larger files are refused before memory is allocated.
        keep_truncated: Whether the readable part of a truncated file is used, with grey in place of the rest.
        shrink: Shorter side, in pixels, to which larger pictures are downscaled; 0: no downscaling.
        paper: Grey level, in 0..255, that replaces transparent pixels.
    """

    channels: int = 3
    max_pixels: int = 100_000_000
    keep_truncated: bool = False
    shrink: int = 0
    paper: int = 255


def decoding_of(reading: ReadingSettings) -> Decoding:
    """Returns the settings with which picture files are decoded."""
    return Decoding(
        channels=reading.channels,
        max_pixels=reading.max_pixels,
        keep_truncated=reading.truncated == "keep",
        shrink=reading.shrink,
    )


def decode_file(data: bytes, decoding: Decoding, *, truncated: bool = False) -> tuple[np.ndarray, bool]:
    """Decodes the first frame of a JPEG, PNG, BMP, GIF, WebP or TIFF file.

    The picture is turned upright by its EXIF orientation, transparent pixels get the colour of `decoding.paper`, and the upper
    8 of 16 bits are used.

    Args:
        data: Content of the file.
        decoding: Settings of the decoding.
        truncated: Whether to decode the readable part of a truncated file.

    Returns:
        `[H, W, channels]` uint8, and whether `streaming.decode_picture` returns the same pixels for the file.

    Raises:
        Unusable: If the file cannot be used; the message states the reason.
    """
    if not data:
        raise Unusable(Reason.EMPTY)
    with _named_errors(), _lenient() if truncated else contextlib.nullcontext():
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if image.width * image.height > decoding.max_pixels:
            raise Unusable(Reason.TOO_LARGE, f"{image.width}×{image.height}")
        pixels = _by_tensorflow(data, decoding.channels) if not truncated and _is_plain(image) else None
        if pixels is not None:
            shrunk = shrink(pixels, decoding.shrink)
            return shrunk, shrunk is pixels
        return shrink(_by_pillow(image, decoding.channels, decoding.paper), decoding.shrink), False


def decodable(data: bytes, decoding: Decoding) -> bytes:
    """Returns a file that TensorFlow decodes correctly, except for the EXIF orientation of a JPEG file.

    The result is `data` itself, or a PNG file of the pixels that Pillow decoded. The picture is not downscaled, because a served
    model downscales with its own rounding.

    Raises:
        Unusable: If the file is not a picture, or only Pillow can decode it and fails.
    """
    with _named_errors():
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        seen = _orientation(image, exif_alone=True) if image.format in ("JPEG", "MPO") else 1
        upright = _orientation(image) == seen
        if _has_plain_pixels(image) and upright:
            return data
    return encode(decode_file(data, dataclasses.replace(decoding, shrink=0))[0])


def encode(pixels: np.ndarray) -> bytes:
    """Encodes `[H, W, 1 or 3]` uint8 as a PNG file, with fast compression."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """Downscales `[H, W, C]` uint8 to a shorter side of `side` pixels, bicubic with antialiasing; never upscales. 0: unchanged."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    if not side or shorter <= side:
        return pixels
    size = (max(1, round(width * side / shorter)), max(1, round(height * side / shorter)))
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC)).reshape(size[1], size[0], -1)


def decode_mask(data: bytes, decoding: Decoding) -> np.ndarray:
    """Decodes a mask: `[H, W, 1]` uint8, 255 where the file is neither black nor transparent; downscaled like its picture.

    Raises:
        Unusable: If the file cannot be used; the message states the reason.
    """
    plain = dataclasses.replace(decoding, channels=1, shrink=0, paper=0)
    pixels, _ = decode_file(data, plain)
    return shrink_mask(np.where(pixels > 0, np.uint8(255), np.uint8(0)), decoding.shrink)


def shrink_mask(mask: np.ndarray, side: int) -> np.ndarray:
    """Downscales a mask, `[H, W, 1]` uint8 of 0 or 255, like `shrink`; pixels that are half foreground are foreground."""
    return np.where(shrink(mask, side) >= 128, np.uint8(255), np.uint8(0))


def size_of(data: bytes) -> tuple[int, int] | None:
    """Reads height and width, before EXIF rotation, from the head of a picture file; None if the file is not a picture."""
    try:
        with _named_errors(), Image.open(io.BytesIO(data)) as image:
            return image.height, image.width
    except Unusable:
        return None


def has_16_bits(data: bytes) -> bool:
    """Returns whether a picture file has one channel of 16 bits."""
    with _named_errors(), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        return bool(image.mode.startswith("I;16"))


@contextlib.contextmanager
def _named_errors() -> Iterator[None]:
    """Turns every exception of Pillow, also on maliciously crafted files, into `Unusable` with a reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, and about sizes that are checked here
            yield
    except Unusable:
        raise
    except Image.DecompressionBombError as error:
        raise Unusable(Reason.TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise Unusable(Reason.UNKNOWN) from error
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, ArithmeticError) as error:
        reason = Reason.TRUNCATED if "truncated" in str(error).lower() else Reason.BROKEN
        raise Unusable(reason, str(error)) from error
    except (struct.error, zlib.error, MemoryError, RuntimeError) as error:
        raise Unusable(Reason.BROKEN, str(error)) from error


@contextlib.contextmanager
def _lenient() -> Iterator[None]:
    """Lets Pillow decode truncated files within the block, in every thread of the process."""
    with _LENIENT:
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def _is_plain(image: Image.Image) -> bool:
    """Returns whether TensorFlow decodes a file correctly."""
    return _has_plain_pixels(image) and _orientation(image) == 1


def _has_plain_pixels(image: Image.Image) -> bool:
    """Returns whether TensorFlow decodes a file's pixels correctly: no palette, no CMYK, no 16-bit grey, no alpha."""
    plain = image.format in ("JPEG", "MPO", "PNG") and image.mode in ("L", "RGB")
    return plain and "transparency" not in image.info


def _orientation(image: Image.Image, *, exif_alone: bool = False) -> int:
    """Reads the orientation tag, from EXIF alone or, like Pillow, also from XMP."""
    try:
        exif = Image.Exif() if exif_alone else image.getexif()
        if exif_alone:
            exif.load(image.info.get("exif", b""))
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever a damaged EXIF block raises: the picture itself is whole
        return 1


def _by_tensorflow(data: bytes, channels: int) -> np.ndarray | None:
    """Decodes with TensorFlow, as training does; returns None for files that only Pillow accepts."""
    import tensorflow as tf

    from semppl.data.streaming import decode_picture

    try:
        with tf.device("CPU"):
            pixels: np.ndarray = decode_picture(tf.constant(data), channels).numpy()
    except tf.errors.InvalidArgumentError:
        return None
    return pixels


def _by_pillow(image: Image.Image, channels: int, paper: int) -> np.ndarray:
    image.load()
    with contextlib.suppress(Exception):  # a damaged EXIF block, see above
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        grey = _upper_bits(np.asarray(image), image.info.get("transparency"), paper)
        return np.repeat(grey[..., np.newaxis], channels, axis=-1)
    if image.mode in ("I", "F"):
        raise Unusable(Reason.DEPTH, f"mode {image.mode}")
    if "A" in image.getbands() or "transparency" in image.info:
        sheet = Image.new("RGBA", image.size, (paper, paper, paper, 255))
        image = Image.alpha_composite(sheet, image.convert("RGBA"))
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(image.height, image.width, channels)


def _upper_bits(values: np.ndarray, transparent: int | None, paper: int) -> np.ndarray:
    """Converts `[H, W]` 16-bit grey to 8-bit grey, with `paper` for the transparent level."""
    grey = np.round(values / 257).astype(np.uint8)
    return grey if transparent is None else np.where(values == transparent, np.uint8(paper), grey)
