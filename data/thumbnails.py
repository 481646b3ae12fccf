"""Small pictures for pages of HTML, as data URLs, so that a page needs no other file."""

import base64
import io
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from PIL import Image

from semppl.data.images import Images


def thumbnail_urls(images: Images, positions: np.ndarray, *, side: int = 96) -> Iterator[str]:
    """Yields a `data:` URL per image: a JPEG file, or a PNG file if the image has one channel.

    Args:
        images: Images in memory or on disk.
        positions: Integers `[k]`, positions of the images.
        side: Longer side of the thumbnails, in pixels.
    """

    def small(batch: tf.Tensor) -> tf.Tensor:
        floats = tf.image.convert_image_dtype(batch, tf.float32)
        sides = tf.cast(tf.shape(batch)[1:3], tf.float32)
        size = tf.maximum(tf.cast(tf.round(sides * side / tf.reduce_max(sides)), tf.int32), 1)
        shrunk = tf.image.resize(floats, size, "area")
        return tf.image.convert_image_dtype(shrunk, tf.uint8, saturate=True)

    for batch in images.batches(small, batch_size=1, positions=positions):
        yield _data_url(batch[0].numpy())


def _data_url(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    grey = pixels.shape[-1] == 1
    Image.fromarray(pixels[..., 0] if grey else pixels).save(file, "PNG" if grey else "JPEG", quality=80)
    return f"data:image/{'png' if grey else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"
