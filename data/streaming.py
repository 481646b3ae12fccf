"""Pictures of many sizes that stay on disk: read, decoded and cropped one by one, on the host."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.views import ViewSettings
from semppl.data.files.lost_pictures import naming_lost_pictures
from semppl.data.views import randomness, recipes

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
        message = "A mask must be as large as its image, {} for id {}. Received: {}"
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


def crop_picture(
    image: tf.Tensor, settings: ViewSettings, *, seed: tf.Tensor, mask: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Does for one picture of any size what `recipes.crop_views` does for a batch of one size, with the same numbers.

    A matrix of weights per view is a waste where sizes are large and nothing need compile: the box is cut out, and TensorFlow's
    own kernel resizes it.

    Args:
        image: `[H, W, C]` uint8, or float32 in [0, 1].
        settings: Number and size of the views; the recipe must be one that only crops boxes.
        seed: `[2]` int32 or int64, of the picture and the step.
        mask: `[H, W]` numbers, zero on the background; None leaves backgrounds alone.

    Returns:
        `{"large": [L, large_size, large_size, C], "small": [S, small_size, small_size, C]}`, float32 in [0, 1].

    Raises:
        ValueError: if the recipe does more than to crop boxes.
    """
    boxes_of(settings.recipe)
    height, width = tf.unstack(tf.shape(image)[:2])
    large_size, small_size, large_views = settings.large_size, settings.small_size, settings.large_views
    boxes, mirrored, bare = _plan(seed, height, width, settings)

    def view(number: int, size: int) -> tf.Tensor:
        top, left, high, wide = tf.unstack(boxes[number])
        cut = image[top : top + high, left : left + wide]
        if mask is not None and number < large_views:
            background = bare[number] & (mask[top : top + high, left : left + wide] == 0)
            cut = tf.image.convert_image_dtype(cut, tf.float32)
            cut = tf.where(background[..., tf.newaxis], recipes.BACKGROUND, cut)
        # The kernel reads whole numbers as they are: what is large need not become floating-point.
        scale = 1.0 if cut.dtype.is_floating else 1.0 / cut.dtype.max
        resized = tf.clip_by_value(tf.image.resize(cut, [size, size], "bicubic") * scale, 0.0, 1.0)
        flipped = tf.cond(mirrored[number], lambda: tf.reverse(resized, [1]), lambda: resized)
        return tf.ensure_shape(flipped, [size, size, image.shape[-1]])

    small = [view(large_views + number, small_size) for number in range(settings.small_views)]
    return {
        "large": tf.stack([view(number, large_size) for number in range(large_views)]),
        "small": tf.stack(small) if small else tf.zeros([0, small_size, small_size, image.shape[-1]]),
    }


def boxes_of(recipe: str) -> recipes.Boxes:
    """Returns how a recipe chooses boxes.

    Raises:
        ValueError: if it does more than that, and so needs images of one size.
    """
    boxes = recipes.find_recipe(recipe).boxes
    if boxes is None:
        able = ", ".join(name for name, stages in sorted(recipes.RECIPES.items()) if stages.boxes)
        raise ValueError(f"--recipe must be one of {able}, for pictures of many sizes. Received: {recipe}")
    return boxes


@tf.function(jit_compile=True, autograph=False)  # hundreds of tiny operations
def _plan(
    seed: tf.Tensor, height: tf.Tensor, width: tf.Tensor, settings: ViewSettings
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Boxes `[V, 4]` int32, which views are mirrored `[V]`, and which lose their background `[V]`."""
    seeds = randomness.split(seed[tf.newaxis], settings.num_views)[:, 0]  # [V,2]
    chosen, mirrored = boxes_of(settings.recipe)(seeds, height, width)
    return tf.cast(chosen, tf.int32), mirrored, recipes.loses_background(seeds, settings.mask_probability)
