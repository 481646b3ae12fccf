"""Pictures of many sizes that stay on disk: read and decoded one by one, on the host."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.data.files.lost_pictures import naming_lost_pictures

_READ_AT_ONCE = 8
Row = dict[str, tf.Tensor]
Encoded = Callable[[tf.Tensor], dict[str, tf.Tensor]]
"""Reads pictures: positions `[k]` int64 give `{"image": [k]}`, and `"mask": [k]` where there are masks: strings."""


@dataclasses.dataclass(frozen=True)
class StreamedImageSet:
    """Pictures of one split, as an `ImageSet`, but encoded and read when they are needed; a picture's id is its position.

    Attributes:
        encoded: reads: positions `[k]` int64 give `{"image": [k]}`, and `"mask": [k]` where there are masks: strings, the bytes of
            JPEG, PNG, BMP or GIF files. Runs on the host.
        channels: C to decode pictures to; a mask has one, 0 for background.
        labels: `[n]` int32, NO_LABEL where unknown.
        names: `[n]` strings to find pictures by in a label list; empty where the source has none.
        groups: `[n]` int64, equal where pictures show the same thing; None where each shows its own.
    """

    encoded: Encoded
    channels: int
    labels: np.ndarray
    names: tuple[str, ...] = ()
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def map_pictures(self, rows: tf.data.Dataset, function: Callable[[Row], Any]) -> tf.data.Dataset:
        """Gives a function each picture, in order; many at a time are read and decoded.

        Args:
            rows: dataset of dicts with a scalar id, and anything more.
            function: takes a row with its image `[H, W, C]` uint8, and its mask `[H, W]` uint8 where there are masks.
        """
        # There is no Python in it to convert; looking for some takes a second.
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
            prepare: maps `[1, H, W, C]` uint8 to `[1, h, w, C]`, of one size.
            batch_size: pictures at a time.
            positions: `[k]` of those wanted; None means all.

        Raises:
            PictureLost: if one is gone or damaged, naming it.
        """
        rows = tf.data.Dataset.from_tensor_slices(
            {"positions": np.arange(len(self)) if positions is None else positions}
        )
        prepared = self.map_pictures(rows, lambda row: prepare(row["image"][tf.newaxis])[0])
        with naming_lost_pictures():
            yield from prepared.batch(batch_size).prefetch(1)

    def select(self, positions: np.ndarray) -> "StreamedImageSet":
        """Returns some of the pictures, in the order of `positions`."""
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
    """Decodes the bytes of a JPEG, PNG, BMP or GIF file, of this its first frame: `[H, W, channels]` uint8."""

    def decode_jpeg() -> tf.Tensor:  # by default it is wrong by several levels of 255, and no faster
        return tf.io.decode_jpeg(encoded, channels=channels, dct_method="INTEGER_ACCURATE")

    def decode_other() -> tf.Tensor:
        return tf.io.decode_image(encoded, channels=channels, expand_animations=False)

    return tf.ensure_shape(tf.cond(tf.io.is_jpeg(encoded), decode_jpeg, decode_other), [None, None, channels])
