"""RandAugment with cutout as in FixMatch: three of fourteen random operations, then a random square of one colour."""

import math

import tensorflow as tf

from semppl.data.views import augmentations, geometry, randomness, tones

MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
BLENDS = ("brightness", "color", "contrast", "sharpness")
OPERATIONS = ("identity", *MOVES, *BLENDS, "autocontrast", "equalize", "posterize", "solarize")
ROUNDS = 3
"""Number of operations per image."""
FACTORS = (0.05, 0.95)
"""Range of the factors of brightness, color, contrast and sharpness."""
BITS = (4, 7)
"""Smallest and largest number of bits that posterize keeps."""
DEGREES = 30.0
SHEAR = 0.3
SHIFT = 0.3
"""Largest translation, as a share of the image's size."""
CUTOUT = 0.5
"""Largest side of the square that is cut out, as a share of the image's size."""

_FILLING = (125 / 255, 123 / 255, 114 / 255)
_GREY = (0.5,)  # fills images without three channels


def augment(images: tf.Tensor, seeds: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Applies three random operations, each with a random magnitude, and cutout to the chosen images.

    Operations are drawn uniformly with replacement, and magnitudes uniformly over their ranges. The published code calls this
    RandAugment(3, 5), and does not use the 5.

    Args:
        images: `[N, S, S, C]` float32 in [0, 1].
        seeds: `[N, 2]`, one per view.
        chosen: `[N]` bool; other images are returned unchanged.

    Returns:
        `[N, S, S, C]`.

    Reference: Sohn et al. 2020, arXiv 2001.07685, appendix D; Cubuk et al. 2020, arXiv 1909.13719; ranges as in the code of USB,
    Wang et al. 2022, arXiv 2208.07204.
    """
    draws = randomness.uniform(seeds, "randaugment", [ROUNDS, 2])  # [N,3,2]
    operations = tf.cast(tf.floor(len(OPERATIONS) * draws[..., 0]), tf.int32)
    operations = tf.where(chosen[:, tf.newaxis], operations, OPERATIONS.index("identity"))
    for number in range(ROUNDS):
        images = operate(images, operations[:, number], draws[:, number, 1])
    holes = randomness.uniform(seeds, "cutout", [3]) * (CUTOUT, 1.0, 1.0)
    return cutout(images, tf.where(chosen, holes[:, 0], 0.0), holes[:, 1:])


def operate(images: tf.Tensor, operations: tf.Tensor, magnitudes: tf.Tensor) -> tf.Tensor:
    """Applies one operation to each image.

    Args:
        images: `[N, S, S, C]` float32 in [0, 1].
        operations: `[N]` int32 indices into `OPERATIONS`.
        magnitudes: `[N]` in [0, 1), from the lower to the upper end of the operation's range.

    Returns:
        `[N, S, S, C]`.
    """
    values = magnitudes[:, tf.newaxis, tf.newaxis, tf.newaxis]
    bits = BITS[0] + tf.cast(tf.floor((BITS[1] - BITS[0] + 1) * magnitudes), tf.int32)
    results = {
        MOVES: geometry.affine_nearest(images, move_matrices(operations, 2.0 * magnitudes - 1.0)),
        BLENDS: tones.blend(
            _degenerate(images, operations), images, FACTORS[0] + (FACTORS[1] - FACTORS[0]) * magnitudes
        ),
        ("autocontrast",): tones.autocontrast(images),
        ("equalize",): tones.equalize(images),
        ("posterize",): tones.posterize(images, bits),
        ("solarize",): augmentations.solarize(images, tones.LEVELS / 255 * values),
    }
    operated = images
    for names, result in results.items():
        operated = _where(operations, names, result, operated)
    return operated


def move_matrices(operations: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Makes the maps of `geometry.affine_nearest`; the identity for operations that do not move pixels.

    Rotations are about the centre, counter-clockwise if positive; shears keep the upper left corner in place.

    Args:
        operations: `[N]` int32 indices into `OPERATIONS`.
        strengths: `[N]` in [-1, 1].

    Returns:
        `[N, 2, 3]`.
    """

    def amount(name: str, largest: float) -> tf.Tensor:
        return tf.where(operations == OPERATIONS.index(name), largest * strengths, 0.0)

    turn = amount("rotate", math.radians(DEGREES))
    shear_x, shear_y = amount("shear_x", SHEAR), amount("shear_y", SHEAR)
    x_row = [tf.cos(turn), shear_x - tf.sin(turn), 0.5 * shear_x + amount("translate_x", SHIFT)]
    y_row = [shear_y + tf.sin(turn), tf.cos(turn), 0.5 * shear_y + amount("translate_y", SHIFT)]
    return tf.stack([tf.stack(x_row, axis=-1), tf.stack(y_row, axis=-1)], axis=-2)


def cutout(images: tf.Tensor, sides: tf.Tensor, centres: tf.Tensor) -> tf.Tensor:
    """Fills a square of each image with the mean colour of ImageNet, or with grey if the image does not have three channels.

    Args:
        images: `[N, S, S, C]`.
        sides: `[N]` sides as a share of the image's size; 0: no square.
        centres: `[N, 2]` row and column of the centre as shares of the image's size; a square at the border is cut off.

    Returns:
        `[N, S, S, C]`.

    Reference: DeVries and Taylor 2017, arXiv 1708.04552.
    """
    size, channels = images.shape[2:]
    sides = size * sides[:, tf.newaxis]
    first = tf.floor(tf.maximum(size * centres - sides / 2, 0.0))  # [N,2]
    place = tf.range(size, dtype=tf.float32)
    within = (place >= first[..., tf.newaxis]) & (place <= (first + sides)[..., tf.newaxis])  # [N,2,S]
    hole = within[:, 0, :, tf.newaxis] & within[:, 1, tf.newaxis, :] & (sides > 0)[..., tf.newaxis]  # [N,S,S]
    return tf.where(hole[..., tf.newaxis], tf.constant(_FILLING if channels == 3 else _GREY), images)


def _degenerate(images: tf.Tensor, operations: tf.Tensor) -> tf.Tensor:
    """Returns the degenerate images of the operations of `BLENDS`; black for brightness."""
    black = tf.zeros_like(images)
    grey = _where(operations, ("color",), augmentations.to_grayscale(images), black)
    flat = _where(operations, ("contrast",), tones.mean_grey(images), grey)
    return _where(operations, ("sharpness",), tones.smooth(images), flat)


def _where(operations: tf.Tensor, names: tuple[str, ...], result: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Takes `result` for the images whose operation is one of `names`."""
    chosen = tf.reduce_any([operations == OPERATIONS.index(name) for name in names], axis=0)
    return tf.where(chosen[:, tf.newaxis, tf.newaxis, tf.newaxis], result, others)
