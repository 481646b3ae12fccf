"""Combination of several sets of images, whose classes are matched by name."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from semppl.data.files.decoding import encode
from semppl.data.images import NO_LABEL, Images, ImageSet
from semppl.data.streaming import Encoded, StreamedImageSet


def renumbered(labels: np.ndarray, names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Maps labels `[n]`, indices into `names`, to the indices of the same names in `wanted`; NO_LABEL stays."""
    number = {name: index for index, name in enumerate(wanted)}
    table = np.array([*(number[name] for name in names), NO_LABEL], np.int32)
    return table[labels]  # NO_LABEL, -1, is the last


def with_labels(images: Images, labels: np.ndarray) -> Images:
    """Returns the same images with other labels, `[n]` int32."""
    if isinstance(images, ImageSet):
        return ImageSet(images.images, labels, images.names, images.masks, images.groups)
    return StreamedImageSet(images.encoded, images.channels, labels, images.names, images.groups)


def joined(parts: Sequence[Images]) -> Images:
    """Concatenates sets of images: in memory if all are in memory and of one shape and type, otherwise as a streamed set.

    Args:
        parts: One or more sets with the same number of channels and the same classes.
    """
    if len(parts) == 1:
        return parts[0]
    labels = np.concatenate([part.labels for part in parts])
    names = sum((part.names or ("",) * len(part) for part in parts), ()) if any(part.names for part in parts) else ()
    groups = _joined_groups(parts)
    in_memory = [part for part in parts if isinstance(part, ImageSet)]
    kinds = {(part.images.shape[1:], part.images.dtype, part.masks is None) for part in in_memory}
    if len(in_memory) == len(parts) and len(kinds) == 1:
        masks = None if in_memory[0].masks is None else np.concatenate([part.masks for part in in_memory])
        return ImageSet(np.concatenate([part.images for part in in_memory]), labels, names, masks, groups)
    readers = [_encoder(part) if isinstance(part, ImageSet) else part.encoded for part in parts]
    return StreamedImageSet(_in_turn(readers, [len(part) for part in parts]), parts[0].channels, labels, names, groups)


def _joined_groups(parts: Sequence[Images]) -> np.ndarray | None:
    if all(part.groups is None for part in parts):
        return None
    own = [np.arange(len(part)) if part.groups is None else part.groups for part in parts]
    firsts = np.cumsum([0, *(int(groups.max()) + 1 for groups in own)])
    return np.concatenate([groups + first for groups, first in zip(own, firsts[:-1], strict=True)])


def _encoder(images: ImageSet) -> Encoded:
    """Returns a function that encodes images in memory as PNG files; see `StreamedImageSet.encoded`."""

    def read(positions: np.ndarray) -> np.ndarray:
        bytes_ = tf.image.convert_image_dtype(images.images[positions], tf.uint8, saturate=True).numpy()
        return np.array([encode(pixels) for pixels in bytes_], object)

    def read_masks(positions: np.ndarray) -> np.ndarray:
        masks = images.masks[positions] if images.masks is not None else ()
        return np.array([encode(mask[..., np.newaxis]) for mask in masks], object)

    def encoded(positions: tf.Tensor) -> dict[str, tf.Tensor]:
        columns = {"image": read} | ({} if images.masks is None else {"mask": read_masks})
        return {
            name: tf.ensure_shape(tf.numpy_function(function, [positions], tf.string, stateful=False), positions.shape)
            for name, function in columns.items()
        }

    return encoded


def _in_turn(readers: Sequence[Encoded], counts: Sequence[int]) -> Encoded:
    """Concatenates readers of `counts` pictures each; pictures of a reader without masks are all foreground."""
    firsts = np.cumsum([0, *counts])[:-1].astype(np.int64)

    def encoded(positions: tf.Tensor) -> dict[str, tf.Tensor]:
        whose = tf.searchsorted(tf.constant(firsts), positions, side="right") - 1
        places = [tf.where(whose == number)[:, 0] for number in range(len(readers))]
        parts = [
            reader(tf.gather(positions, place) - first)
            for reader, place, first in zip(readers, places, firsts, strict=True)
        ]
        columns = {name for part in parts for name in part}
        return {name: _stitched(name, places, parts, positions) for name in sorted(columns)}

    return encoded


def _stitched(
    name: str, places: Sequence[tf.Tensor], parts: Sequence[dict[str, tf.Tensor]], positions: tf.Tensor
) -> tf.Tensor:
    values = [part.get(name, tf.fill(tf.shape(place), "")) for part, place in zip(parts, places, strict=True)]
    stitched = tf.dynamic_stitch([tf.cast(place, tf.int32) for place in places], values)
    return tf.ensure_shape(stitched, positions.shape)
