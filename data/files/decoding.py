"""Picture files of every kind to pixels: TensorFlow decodes what it decodes right, Pillow the rest."""

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
import tensorflow as tf
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from semppl.data.streaming import decode_picture

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
)
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")  # of Pillow's many; the others are less tried
_LENIENT = threading.Lock()  # Pillow has one switch for the whole process


class Reason(enum.StrEnum):
    """Why a file is not used."""

    UNREADABLE = "cannot be read"
    EMPTY = "empty"
    UNKNOWN = "of no known format"
    TOO_LARGE = "too many pixels"
    TRUNCATED = "truncated"
    BROKEN = "broken"
    DEPTH = "pixels of an unknown range"
    MASK = "mask missing or broken"
    MASK_SIZE = "mask of another size"


class Unusable(ValueError):
    """A file that is not used; `reason` is why, `detail` more of it."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How picture files become pixels.

    Attributes:
        channels: 1 or 3.
        max_pixels: a file that says it holds more is refused before any memory is taken for it.
        keep_truncated: whether a file that ends too early is decoded as far as it goes, the rest grey.
        shrink: shorter side, in pixels, that larger pictures are shrunk to; 0 leaves them as they are.
        paper: grey level that shows where a picture is transparent.
    """

    channels: int = 3
    max_pixels: int = 100_000_000
    keep_truncated: bool = False
    shrink: int = 0
    paper: int = 255


def decode_file(data: bytes, decoding: Decoding, *, truncated: bool = False) -> tuple[np.ndarray, bool]:
    """Decodes a JPEG, PNG, BMP, GIF, WebP or TIFF file; of several frames the first.

    The picture is turned as its EXIF orientation says, transparency shows paper, 16 bits become the upper 8.

    Args:
        data: the file.
        decoding: how.
        truncated: whether to take what there is of a file that ends too early.

    Returns:
        `[H, W, channels]` uint8, and whether `streaming.decode_picture` gives the same from the file itself.

    Raises:
        Unusable: saying why.
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
    """Returns a file that TensorFlow decodes right, but for a JPEG's EXIF orientation: itself, unless Pillow must decode it.

    It is not shrunk: a served model does that, to its own rounding.

    Raises:
        Unusable: if it is no picture, or one that Pillow must decode and cannot.
    """
    with _named_errors():
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        seen = _orientation(image, exif_alone=True) if image.format in ("JPEG", "MPO") else 1
        upright = _orientation(image) == seen
        if _has_plain_pixels(image) and upright:
            return data
    return encode(decode_file(data, dataclasses.replace(decoding, shrink=0))[0])


def encode(pixels: np.ndarray) -> bytes:
    """Writes `[H, W, 1 or 3]` uint8 as a PNG file, quickly."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """Shrinks `[H, W, C]` uint8 so that the shorter side is `side`, bicubic, without aliasing; 0, or a smaller one: as it is."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    if not side or shorter <= side:
        return pixels
    size = (max(1, round(width * side / shorter)), max(1, round(height * side / shorter)))
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC)).reshape(size[1], size[0], -1)


def decode_mask(data: bytes, decoding: Decoding) -> np.ndarray:
    """Decodes a mask: `[H, W, 1]` uint8, 255 where the file is neither black nor transparent; shrunk like its picture.

    Raises:
        Unusable: saying why.
    """
    plain = dataclasses.replace(decoding, channels=1, shrink=0, paper=0)
    pixels, _ = decode_file(data, plain)
    return shrink_mask(np.where(pixels > 0, np.uint8(255), np.uint8(0)), decoding.shrink)


def shrink_mask(mask: np.ndarray, side: int) -> np.ndarray:
    """Shrinks `[H, W, 1]` uint8, 0 or 255, as `shrink` does its picture; what is half shown is shown."""
    return np.where(shrink(mask, side) >= 128, np.uint8(255), np.uint8(0))


def size_of(data: bytes) -> tuple[int, int] | None:
    """Reads height and width from the head of a picture file, as it is stored; None where it is none."""
    try:
        with _named_errors(), Image.open(io.BytesIO(data)) as image:
            return image.height, image.width
    except Unusable:
        return None


@contextlib.contextmanager
def _named_errors() -> Iterator[None]:
    """Gives what Pillow raises, for files made to break it too, one of our reasons."""
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
    """Lets Pillow decode truncated files, meanwhile for every thread."""
    with _LENIENT:
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def _is_plain(image: Image.Image) -> bool:
    """Tells whether TensorFlow decodes a file right."""
    return _has_plain_pixels(image) and _orientation(image) == 1


def _has_plain_pixels(image: Image.Image) -> bool:
    """Tells whether TensorFlow decodes a file's pixels right: no palette, no CMYK, no 16-bit grey, no alpha."""
    plain = image.format in ("JPEG", "MPO", "PNG") and image.mode in ("L", "RGB")
    return plain and "transparency" not in image.info


def _orientation(image: Image.Image, *, exif_alone: bool = False) -> int:
    """Reads the orientation tag; Pillow looks for it in XMP too, unless it is to look in EXIF alone."""
    try:
        exif = Image.Exif() if exif_alone else image.getexif()
        if exif_alone:
            exif.load(image.info.get("exif", b""))
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever a damaged EXIF block raises: the picture itself is whole
        return 1


def _by_tensorflow(data: bytes, channels: int) -> np.ndarray | None:
    """Decodes as training will; None where TensorFlow is stricter than Pillow."""
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
    """`[H, W]` 16-bit grey as 8-bit grey, with paper where it is transparent."""
    grey = np.round(values / 257).astype(np.uint8)
    return grey if transparent is None else np.where(values == transparent, np.uint8(paper), grey)
