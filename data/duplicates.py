"""Exact and near duplicates among pictures."""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse.csgraph
import tensorflow as tf

from semppl.data.images import Images

_HEIGHT, _WIDTH = 8, 9  # eight differences a row
_DIGEST = 16
_MAX_BITS = 3  # of 64: hashes that differ in no more are equal in one of four bands of 16
_WINDOW = 64  # images with an equal band with which an image is compared
_MAX_LEVELS = 6.0  # largest mean difference between thumbnails, in levels of 255
_PLAIN = 3.0  # standard deviation below which a thumbnail is too plain to compare
_BATCH = 64
_CHUNK = 2**16


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


def near_duplicates(prints: Prints) -> list[tuple[int, ...]]:
    """Returns groups of similar, unequal images: recompressed, resized or slightly retouched, but not mirrored.

    Two images are similar if the signs of the differences between neighbouring pixels of their thumbnails agree in at least 61
    of 64, and the thumbnails differ little on average. Images without contrast, which are all similar, are left out. A group is
    connected by similar pairs. Among images whose hashes have a band in common, each is compared with the next 64, so that time
    and memory are linear in the number of images however many are alike.

    Args:
        prints: Fingerprints of the images.

    Returns:
        Groups of two or more positions, each in ascending order, sorted by the first.
    """
    thumbnails = prints.thumbnails  # [n,8,9]
    bits = np.packbits((thumbnails[:, :, 1:] > thumbnails[:, :, :-1]).reshape(len(thumbnails), -1), axis=1)  # [n,8]
    groups = np.arange(len(thumbnails))
    for first, second in _candidates(bits.view(np.uint16), _with_contrast(thumbnails)):
        apart = groups[first] != groups[second]
        first, second = first[apart], second[apart]
        near = np.unpackbits(bits[first] ^ bits[second], axis=1).sum(1) <= _MAX_BITS
        first, second = first[near], second[near]
        levels = np.abs(thumbnails[first].astype(np.int16) - thumbnails[second])
        alike = levels.mean((1, 2)) <= _MAX_LEVELS
        unequal = (prints.digests[first] != prints.digests[second]).any(1)
        groups = _connected(groups, first[alike & unequal], second[alike & unequal])
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return sorted(tuple(group.tolist()) for group in np.split(order, starts) if len(group) > 1)


def _with_contrast(thumbnails: np.ndarray) -> np.ndarray:
    """Returns the positions of the thumbnails `[n, 8, 9]` that are not too plain to compare."""
    parts = [thumbnails[first : first + _CHUNK] for first in range(0, len(thumbnails), _CHUNK)]
    return np.flatnonzero(np.concatenate([np.zeros(0), *(part.std((1, 2)) for part in parts)]) >= _PLAIN)


def _candidates(bands: np.ndarray, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs of chosen images that share one of the bands `[n, 4]`, as two arrays of positions of at most n each."""
    for band in range(bands.shape[1]):
        order = chosen[np.argsort(bands[chosen, band], kind="stable")]
        keys = bands[order, band]
        for lag in range(1, min(_WINDOW, len(order) - 1) + 1):
            same = keys[lag:] == keys[:-lag]
            if not same.any():
                break
            yield order[:-lag][same], order[lag:][same]


def _connected(groups: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Joins the groups `[n]` of pairs of images."""
    if not len(first):
        return groups
    links = scipy.sparse.coo_array((np.ones(len(first), bool), (groups[first], groups[second])), [len(groups)] * 2)
    _, joined = scipy.sparse.csgraph.connected_components(links, directed=False)
    return np.asarray(joined)[groups]


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
