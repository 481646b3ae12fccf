"""Pictures of different sizes on disk, read and decoded one by one on the host."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.data.files.lost_pictures import naming_lost_pictures

_READ_AT_ONCE = 8
Row = dict[str, tf.Tensor]
Encoded = Callable[[tf.Tensor], dict[str, tf.Tensor]]
"""Function from positions `[k]` int64 to `{"image": [k], "mask": [k]}`, strings; without "mask" if there are no masks."""


@dataclasses.dataclass(frozen=True)
class StreamedImageSet:
    """Pictures of one split that are read and decoded when needed; the interface is that of `ImageSet`.

    Attributes:
        encoded: Function that reads pictures on the host: positions `[k]` int64 to `{"image": [k], "mask": [k]}`, strings with the
            bytes of JPEG, PNG, BMP or GIF files; without "mask" if there are no masks.
        channels: Number of channels to which pictures are decoded, C. Masks have one channel, 0 on the background.
        labels: `[n]` int32, NO_LABEL where unknown.
        names: `[n]` strings by which a label list names pictures; empty if the source has none.
        groups: `[n]` int64, equal for pictures that show the same thing; None if every picture is its own group.
    """

    encoded: Encoded
    channels: int
    labels: np.ndarray
    names: tuple[str, ...] = ()
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def map_pictures(self, rows: tf.data.Dataset, function: Callable[[Row], Any]) -> tf.data.Dataset:
        """Maps a function over decoded pictures, in order; several pictures are read and decoded in parallel.

        Args:
            rows: Dataset of dicts with an int64 scalar "positions", and any other entries.
            function: Function of a row with the entries "image", `[H, W, C]` uint8, and "mask", `[H, W]` uint8, if there are masks.
        """
        # The functions contain nothing for AutoGraph to convert, and its analysis takes a second.
        as_it_is = tf.autograph.experimental.do_not_convert
        read = as_it_is(lambda row: row | self.encoded(row["positions"]))
        made = as_it_is(lambda row: function(self._decoded(row)))
        chunks = rows.batch(_READ_AT_ONCE).map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return chunks.unbatch().map(made, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def batches(
        self, prepare: Callable[[tf.Tensor], tf.Tensor], *, batch_size: int, positions: np.ndarray | None = None
    ) -> Iterator[tf.Tensor]:
        """Yields prepared pictures in order, a batch at a time.

        Args:
            prepare: Maps `[1, H, W, C]` uint8 to `[1, h, w, C]`, of the same h and w for all pictures.
            batch_size: Maximum batch size.
            positions: Integers `[k]`, positions of the pictures to yield; None: all.

        Raises:
            PictureLost: If a picture is deleted, changed or damaged; the message names the picture.
        """
        rows = tf.data.Dataset.from_tensor_slices(
            {"positions": np.arange(len(self)) if positions is None else positions}
        )
        prepared = self.map_pictures(rows, lambda row: prepare(row["image"][tf.newaxis])[0])
        with naming_lost_pictures():
            yield from prepared.batch(batch_size).prefetch(1)

    def select(self, positions: np.ndarray) -> "StreamedImageSet":
        """Returns the pictures at `positions`, in that order."""
        chosen = tf.constant(positions, tf.int64)
        return StreamedImageSet(
            lambda positions: self.encoded(tf.gather(chosen, positions)),
            self.channels,
            self.labels[positions],
            tuple(self.names[i] for i in positions) if self.names else (),
            None if self.groups is None else self.groups[positions],
        )

    def _decoded(self, row: Row) -> Row:
        image = decode_picture(row["image"], self.channels)
        if "mask" not in row:
            return row | {"image": image}
        whole = tf.ones(tf.shape(image)[:2], tf.uint8)
        mask = tf.cond(row["mask"] == "", lambda: whole, lambda: decode_picture(row["mask"], 1)[..., 0])
        expected, received = tf.shape(image)[:2], tf.shape(mask)
        message = "A mask must be as large as its image, {} at position {}. Received: {}"
        problem = tf.strings.format(message, (expected, row["positions"], received))
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(expected == received), [problem])]):
            return row | {"image": image, "mask": tf.identity(mask)}


def decode_picture(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes a JPEG, PNG, BMP or GIF file (its first frame) to `[H, W, channels]` uint8."""

    def decode_jpeg() -> tf.Tensor:  # the default method errs by several levels of 255, and is no faster
        return tf.io.decode_jpeg(encoded, channels=channels, dct_method="INTEGER_ACCURATE")

    def decode_other() -> tf.Tensor:
        return tf.io.decode_image(encoded, channels=channels, expand_animations=False)

    return tf.ensure_shape(tf.cond(tf.io.is_jpeg(encoded), decode_jpeg, decode_other), [None, None, channels])
