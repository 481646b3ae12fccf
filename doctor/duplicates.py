"""Exact and near duplicates among pictures."""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from semppl.data.images import Images

_HEIGHT, _WIDTH = 8, 9  # eight differences a row
_DIGEST = 16
_BANDS = 4  # of 16 bits: hashes that differ in at most three bits are equal in one of them
_MAX_BITS = 3
_MAX_LEVELS = 6.0  # largest mean difference between thumbnails, in levels of 255
_PLAIN = 3.0  # standard deviation below which a thumbnail is too plain to compare
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Prints:
    """Fingerprints of n images, by which duplicates are found.

    Attributes:
        digests: `[n, 16]` uint8, digests of size and pixels.
        thumbnails: `[n, 8, 9]` uint8, grey thumbnails.
    """

    digests: np.ndarray
    thumbnails: np.ndarray

    @classmethod
    def of(cls, images: Images) -> "Prints":
        """Computes the fingerprints of all images."""
        rows = np.concatenate([batch.numpy() for batch in images.batches(_prints, batch_size=_BATCH)])
        return cls(rows[:, :_DIGEST], rows[:, _DIGEST:].reshape(-1, _HEIGHT, _WIDTH))

    @classmethod
    def joined(cls, parts: Sequence["Prints"]) -> "Prints":
        """Concatenates fingerprints."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("digests", "thumbnails")))


def exact_duplicates(prints: Prints) -> list[tuple[int, ...]]:
    """Returns the groups of two or more images with equal pixels, as positions."""
    members: dict[bytes, list[int]] = defaultdict(list)
    for position, digest in enumerate(prints.digests):
        members[digest.tobytes()].append(position)
    return [tuple(group) for group in members.values() if len(group) > 1]


def near_duplicates(prints: Prints) -> list[tuple[int, int]]:
    """Returns pairs of similar, unequal images: recompressed, resized or slightly retouched, but not mirrored.

    Two images are similar if the signs of the differences between neighbouring pixels of their thumbnails agree in at least 61
    of 64, and the thumbnails differ little on average. Images without contrast, which are all similar, are left out.

    Args:
        prints: Fingerprints of the images.

    Returns:
        Pairs of positions, the smaller one first, sorted.
    """
    levels = prints.thumbnails.astype(np.float32)  # [n,8,9]
    bits = (levels[:, :, 1:] > levels[:, :, :-1]).reshape(len(levels), -1)  # [n,64]
    shows = np.flatnonzero(levels.std(axis=(1, 2)) >= _PLAIN)
    pairs = set()
    for first, others in _candidates(bits, shows):
        near = others[(bits[others] != bits[first]).sum(1) <= _MAX_BITS]
        alike = near[np.abs(levels[near] - levels[first]).mean((1, 2)) <= _MAX_LEVELS]
        unequal = alike[(prints.digests[alike] != prints.digests[first]).any(1)]
        pairs |= {(first, int(other)) for other in unequal}
    return sorted(pairs)


def _candidates(bits: np.ndarray, chosen: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields each chosen image with the later images that share a band of 16 bits."""
    bands = np.packbits(bits, axis=1).view(np.uint16)  # [n,4]
    for band in range(_BANDS):
        members: dict[int, list[int]] = defaultdict(list)
        for position in chosen:
            members[int(bands[position, band])].append(int(position))
        for group in members.values():
            places = np.array(group)
            yield from ((first, places[number + 1 :]) for number, first in enumerate(group[:-1]))


def _prints(images: tf.Tensor) -> tf.Tensor:
    """Computes digest and thumbnail of images `[B, H, W, C]` of one size: `[B, 16 + 72]` uint8."""
    bytes_ = tf.image.convert_image_dtype(images, tf.uint8, saturate=True)
    grey = tf.image.rgb_to_grayscale(bytes_) if images.shape[-1] == 3 else bytes_[..., :1]
    small = tf.image.resize(tf.cast(grey, tf.float32), [_HEIGHT, _WIDTH], tf.image.ResizeMethod.AREA)
    thumbnails = tf.reshape(tf.cast(tf.round(small), tf.uint8), [-1, _HEIGHT * _WIDTH])
    digests = tf.numpy_function(_digests, [bytes_], tf.uint8, stateful=False)
    return tf.concat([tf.ensure_shape(digests, [None, _DIGEST]), thumbnails], axis=1)


def _digests(images: np.ndarray) -> np.ndarray:
    parts = [
        hashlib.blake2b(f"{image.shape}".encode() + image.tobytes(), digest_size=_DIGEST).digest() for image in images
    ]
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, _DIGEST)
