"""Counter-based random numbers: one stream per image, whatever its row, batch or replica.

`tf.random.stateless_*` takes one seed per call; here every row of a batch has its own, in one vectorised call that also
compiles under XLA.
"""

import math
import zlib
from collections.abc import Sequence

import tensorflow as tf

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_KEY_PARITY = 0x1BD11BDA


def threefry2x32(key: tuple[tf.Tensor, tf.Tensor], counter: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Encrypts counters with keys, in twenty rounds.

    Args:
        key: two uint32 tensors, broadcastable with the counter.
        counter: two uint32 tensors.

    Returns:
        Two uint32 tensors of the broadcast shape, uniformly random bits.

    Reference: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    schedule = (*key, key[0] ^ key[1] ^ tf.constant(_KEY_PARITY, tf.uint32))
    left, right = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            left += right
            right = left ^ _rotate_left(right, rotation)
        left += schedule[(group + 1) % 3]
        right += schedule[(group + 2) % 3] + tf.constant(group + 1, tf.uint32)
    return left, right


def split(seeds: tf.Tensor, count: int) -> tf.Tensor:
    """Derives independent seeds from each seed.

    Args:
        seeds: `[B, 2]` int32, int64, or uint32 as `split` returns them; equal int32 and int64 seeds give equal numbers.
        count: Number of seeds to derive from each seed.

    Returns:
        `[count, B, 2]` uint32; entry `i` depends on the seed and on `i` only, not on `count`.
    """
    left, right = threefry2x32(_key(seeds), _counter("split", count))
    return tf.transpose(tf.stack([left, right], axis=-1), [1, 0, 2])


def uniform(seeds: tf.Tensor, purpose: str | int, shape: Sequence[int] = ()) -> tf.Tensor:
    """Draws uniform numbers, one independent stream per seed and purpose.

    Args:
        seeds: `[B, 2]`, as for `split`.
        purpose: Name, or number below 2**32, that separates the streams of a seed.
        shape: Static shape of the draw per seed.

    Returns:
        `[B, *shape]` float32 in [0, 1), multiples of 2**-24.
    """
    size = math.prod(shape)
    left, right = threefry2x32(_key(seeds), _counter(purpose, (size + 1) // 2))
    numbers = _unit_interval(tf.concat([left, right], axis=-1)[:, :size])
    return tf.reshape(numbers, [tf.shape(seeds)[0], *shape])


def normal(seeds: tf.Tensor, purpose: str | int, shape: Sequence[int] = ()) -> tf.Tensor:
    """Draws standard normal numbers, one independent stream per seed and purpose.

    Args:
        seeds: `[B, 2]`, as for `split`.
        purpose: separates streams of the same seed; a name, or a number below 2**32.
        shape: static shape of the draw of one seed.

    Returns:
        `[B, *shape]` float32, at most 5.8 in size.

    Reference: Box and Muller 1958, "A note on the generation of random normal deviates".
    """
    size = math.prod(shape)
    left, right = threefry2x32(_key(seeds), _counter(purpose, (size + 1) // 2))
    radius = tf.sqrt(-2.0 * tf.math.log(1.0 - _unit_interval(left)))
    angle = 2.0 * math.pi * _unit_interval(right)
    numbers = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=-1)[:, :size]
    return tf.reshape(numbers, [tf.shape(seeds)[0], *shape])


def _rotate_left(word: tf.Tensor, bits: int) -> tf.Tensor:
    up, down = tf.constant(bits, tf.uint32), tf.constant(32 - bits, tf.uint32)
    return tf.bitwise.left_shift(word, up) | tf.bitwise.right_shift(word, down)


def _key(seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns two `[B, 1]` uint32 words that depend on every bit of the seeds `[B, 2]`."""
    if seeds.dtype not in (tf.int32, tf.int64, tf.uint32) or seeds.shape.rank != 2 or seeds.shape[1] != 2:
        raise ValueError(
            "`seeds` must be int32, int64 or uint32 of shape [B, 2]. "
            f"Received: {seeds.dtype.name} of shape {seeds.shape}"
        )
    if seeds.dtype == tf.uint32:  # from `split`, which has mixed the bits already
        return seeds[:, :1], seeds[:, 1:]
    wide = tf.cast(seeds, tf.int64)
    low = tf.split(tf.cast(wide & 0xFFFFFFFF, tf.uint32), 2, axis=-1)
    high = tf.split(
        tf.cast(tf.bitwise.right_shift(wide, tf.constant(32, tf.int64)) & 0xFFFFFFFF, tf.uint32), 2, axis=-1
    )
    return threefry2x32((low[0], low[1]), (high[0], high[1]))


def _counter(purpose: str | int, blocks: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the numbers of the blocks, `[1, blocks]`, and the purpose as one word."""
    word = zlib.crc32(purpose.encode()) if isinstance(purpose, str) else purpose
    return tf.cast(tf.range(blocks), tf.uint32)[tf.newaxis], tf.constant(word, tf.uint32)


def _unit_interval(bits: tf.Tensor) -> tf.Tensor:
    """Maps the upper 24 bits of each word to float32 in [0, 1), exactly."""
    upper = tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32))
    return tf.cast(tf.bitcast(upper, tf.int32), tf.float32) * 2.0**-24
