"""Small pictures for pages of HTML, as data URLs, so that a page needs no other file."""

import base64
import io
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from PIL import Image

from semppl.data.images import Images

_GREY = (128, 128, 128)


def thumbnail_urls(images: Images, positions: np.ndarray, *, side: int = 96) -> Iterator[str]:
    """Yields a `data:` URL per image: a JPEG file, or a PNG file if the image has one channel.

    Args:
        images: Images in memory or on disk.
        positions: Integers `[k]`, positions of the images.
        side: Longer side of the thumbnails, in pixels.
    """
    for pixels in _thumbnails(images, positions, side):
        yield _data_url(_image(pixels))


def square_thumbnails(images: Images, positions: np.ndarray, *, side: int) -> Iterator[Image.Image]:
    """Yields images of three channels, each in the middle of a grey square of `side` pixels.

    Args:
        images: Images in memory or on disk.
        positions: Integers `[k]`, positions of the images.
        side: Side of the squares, in pixels.
    """
    for pixels in _thumbnails(images, positions, side):
        square, picture = Image.new("RGB", (side, side), _GREY), _image(pixels)
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        yield square


def sprite_url(images: Images, positions: np.ndarray, *, side: int, columns: int) -> str:
    """Returns a `data:` URL of one JPEG file with a thumbnail of each image, row by row.

    Args:
        images: Images in memory or on disk.
        positions: Integers `[k]`, positions of the images, k ≥ 1.
        side: Side of the square that each thumbnail has, in pixels.
        columns: Number of thumbnails in a row.
    """
    sprite = Image.new("RGB", (columns * side, -(-len(positions) // columns) * side), _GREY)
    for number, square in enumerate(square_thumbnails(images, positions, side=side)):
        sprite.paste(square, (number % columns * side, number // columns * side))
    return _data_url(sprite)


def _thumbnails(images: Images, positions: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Yields images whose longer side is `side` pixels, as uint8 `[h, w, C]`."""

    def small(batch: tf.Tensor) -> tf.Tensor:
        floats = tf.image.convert_image_dtype(batch, tf.float32)
        sides = tf.cast(tf.shape(batch)[1:3], tf.float32)
        size = tf.maximum(tf.cast(tf.round(sides * side / tf.reduce_max(sides)), tf.int32), 1)
        shrunk = tf.image.resize(floats, size, "area")
        return tf.image.convert_image_dtype(shrunk, tf.uint8, saturate=True)

    for batch in images.batches(small, batch_size=1, positions=positions):
        yield batch[0].numpy()


def _image(pixels: np.ndarray) -> Image.Image:
    """Converts pixels `[h, w, C]` to a picture; of more channels than three, the first three, and of two, the first."""
    return Image.fromarray(pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0])


def _data_url(picture: Image.Image) -> str:
    file = io.BytesIO()
    kind = "png" if picture.mode == "L" else "jpeg"
    picture.save(file, kind, quality=80)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
