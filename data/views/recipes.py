"""Augmentation recipes: functions from an image and the stateless seed of a view to the view."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import tensorflow as tf

from semppl.data.views import augmentations, geometry, randaugment, randomness

Boxes = Callable[[tf.Tensor, tf.Tensor | int, tf.Tensor | int], tuple[tf.Tensor, tf.Tensor]]
"""`(seeds [N,2], height, width) -> (boxes [N,4] as crop_boxes returns them, mirrored [N] bool)`."""


@dataclass(frozen=True)
class Recipe:
    """An augmentation in two stages, both pure functions of one seed per view.

    Attributes:
        crop: `(images [N,H,W,C], seeds [N,2], size) -> [N,size,size,C]`, all in [0, 1].
        finish: `(crops [N,size,size,C], seeds [N,2], view numbers [N] int32) -> [N,size,size,C]`, in [0, 1].
        boxes: Function that draws the boxes of `crop`, if `crop` only cuts out, resizes and mirrors; else None.
        centre_crop: Side of the central square that evaluation and serving take of an image, as a share of the shorter side,
            in (0, 1]; 1 takes the whole image.
        weak_and_strong: Whether even views are augmented weakly and odd views strongly.
    """

    crop: Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]
    finish: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
    boxes: Boxes | None = None
    centre_crop: float = 1.0
    weak_and_strong: bool = False

    def __call__(self, images: tf.Tensor, seeds: tf.Tensor, views: tf.Tensor, size: int) -> tf.Tensor:
        """Makes one view of each image."""
        return self.finish(self.crop(images, seeds, size), seeds, views)


@dataclass(frozen=True)
class Digits:
    """Ranges of the augmentation of small grey scans of handwriting, which are never mirrored."""

    shift: float = 0.15  # of the image's size: about one pixel of eight
    zoom: float = 0.2
    rotation: float = 20.0  # degrees
    shear: float = 0.25
    contrast: float = 0.4
    brightness: float = 0.1
    noise: float = 0.1


@dataclass(frozen=True)
class WeakAndStrong:
    """FixMatch's recipe: shift and flip; odd views also RandAugment with cutout.

    Reference: Sohn et al. 2020, arXiv 2001.07685, section 2.3; the largest shift is that of USB, arXiv 2208.07204.
    """

    shift: float = 1 / 8  # of the view's size, in whole pixels
    flip_probability: float = 0.5


@dataclass(frozen=True)
class Natural:
    """The official recipe for photographs. Pairs of probabilities are for even and odd views.

    Reference: Grill et al. 2020, arXiv 2006.07733, appendix B, table 6.
    """

    crop_area: tuple[float, float] = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    jitter_probability: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grayscale_probability: float = 0.2
    blur_probability: tuple[float, float] = (1.0, 0.1)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_divider: int = 10  # of the view's size: the kernel
    solarize_probability: tuple[float, float] = (0.0, 0.2)
    solarize_threshold: float = 0.5


IMAGENET = Natural()
# No blur on 32 pixels, as in Chen et al. 2020, arXiv 2002.05709, appendix B.9; blur would remove the little detail.
CIFAR = replace(IMAGENET, blur_probability=(0.0, 0.0))
# For short runs of small encoders, which learn too slowly from crops of a twelfth of an image; measured in docs/results.md.
GENTLE = replace(CIFAR, crop_area=(0.3, 1.0), solarize_probability=(0.0, 0.0))
GREY = replace(CIFAR, saturation=0.0, hue=0.0, grayscale_probability=0.0, solarize_probability=(0.0, 0.0))


def find_recipe(name: str) -> Recipe:
    """Returns the recipe of a name.

    Raises:
        ValueError: If there is no such recipe.
    """
    check_recipe(name)
    return RECIPES[name]


def check_recipe(name: str) -> None:
    """Checks that a recipe exists.

    Raises:
        ValueError: If there is no such recipe; the message names the flag and the recipes.
    """
    if name not in RECIPES:
        raise ValueError(f"--recipe must be one of {', '.join(sorted(RECIPES))}. Received: {name}")


def boxes_of(recipe: str) -> Boxes:
    """Returns the function with which a recipe draws boxes.

    Raises:
        ValueError: If the recipe does more than crop boxes, and so needs images of one size.
    """
    boxes = find_recipe(recipe).boxes
    if boxes is None:
        able = ", ".join(name for name, stages in sorted(RECIPES.items()) if stages.boxes)
        raise ValueError(f"--recipe must be one of {able}, for pictures of many sizes. Received: {recipe}")
    return boxes


def identity() -> Recipe:
    """Makes the recipe that only resizes."""

    def boxes(seeds: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
        return _whole(seeds, height, width), tf.zeros([tf.shape(seeds)[0]], tf.bool)

    return Recipe(functools.partial(_cut, boxes=boxes), lambda crops, seeds, views: crops, boxes)


def weak_and_strong(settings: WeakAndStrong) -> Recipe:
    """Makes the recipe of methods that compare a weakly with a strongly augmented view."""

    def boxes(seeds: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
        return _whole(seeds, height, width), randomness.uniform(seeds, "flip") < settings.flip_probability

    def shift_and_strengthen(images: tf.Tensor, seeds: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        largest = int(settings.shift * images.shape[1])
        offsets = tf.floor((2 * largest + 1) * randomness.uniform(seeds, "shift", [2])) - largest
        shifted = geometry.shift_reflected(images, tf.cast(offsets, tf.int32))
        return randaugment.augment(shifted, seeds, views % 2 == 1)

    return Recipe(functools.partial(_cut, boxes=boxes), shift_and_strengthen, boxes, weak_and_strong=True)


def digits(settings: Digits) -> Recipe:
    """Makes the recipe for handwriting: a random affine map, then random contrast, brightness and noise."""

    def move(images: tf.Tensor, seeds: tf.Tensor, size: int) -> tf.Tensor:
        moves = 2.0 * randomness.uniform(seeds, "affine", [5]) - 1.0  # [N,5]
        matrices = geometry.affine_matrices(
            shift=settings.shift * moves[:, :2],
            zoom=1.0 + settings.zoom * moves[:, 2],
            rotation=math.radians(settings.rotation) * moves[:, 3],
            shear=settings.shear * moves[:, 4],
        )
        return geometry.affine(images, matrices, size)

    def light(moved: tf.Tensor, seeds: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        del views
        light = 2.0 * randomness.uniform(seeds, "light", [2, 1, 1, 1]) - 1.0  # [N,2,1,1,1]
        lit = moved * (1.0 + settings.contrast * light[:, 0]) + settings.brightness * light[:, 1]
        noise = settings.noise * randomness.normal(seeds, "noise", moved.shape[1:])
        return tf.clip_by_value(lit + noise, 0.0, 1.0)

    return Recipe(move, light)


def natural(settings: Natural, *, centre_crop: float = 1.0) -> Recipe:
    """Makes a recipe for photographs: crop and flip; then, each with a probability, colour jitter, grey, blur and solarisation."""

    def draws(seeds: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns chances `[N, 5]`, strengths and ranks `[N, 4]`, and a width `[N, 1]`, uniform."""
        return tuple(tf.split(randomness.uniform(seeds, "photometry", [14]), [5, 4, 4, 1], axis=-1))

    def boxes(seeds: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = geometry.crop_boxes(
            randomness.uniform(seeds, "crop", [4]),
            height=height,
            width=width,
            area=settings.crop_area,
            aspect=settings.crop_aspect,
        )
        return chosen, draws(seeds)[0][:, 0] < settings.flip_probability

    def colour(crops: tf.Tensor, seeds: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        chances, strengths, ranks, width = draws(seeds)
        jittered = _jitter(crops, chances[:, 1] < settings.jitter_probability, strengths, ranks, settings)
        result = _where(chances[:, 2] < settings.grayscale_probability, augmentations.to_grayscale, jittered)
        if any(settings.blur_probability):
            low, high = settings.blur_sigma
            sigma = low + (high - low) * width[:, 0]
            kernel_size = crops.shape[1] // settings.blur_divider
            blur = functools.partial(augmentations.gaussian_blur, sigma=sigma, kernel_size=kernel_size)
            result = _where(chances[:, 3] < _of_view(settings.blur_probability, views), blur, result)
        if any(settings.solarize_probability):
            solarize = functools.partial(augmentations.solarize, threshold=settings.solarize_threshold)
            result = _where(chances[:, 4] < _of_view(settings.solarize_probability, views), solarize, result)
        return tf.clip_by_value(result, 0.0, 1.0)

    return Recipe(functools.partial(_cut, boxes=boxes), colour, boxes, centre_crop)


def _whole(seeds: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
    """Returns boxes `[N, 4]` of whole images."""
    whole = tf.stack([0.0, 0.0, tf.cast(height, tf.float32), tf.cast(width, tf.float32)])
    return tf.tile(whole[tf.newaxis], [tf.shape(seeds)[0], 1])


def _cut(images: tf.Tensor, seeds: tf.Tensor, size: int, *, boxes: Boxes) -> tf.Tensor:
    chosen, mirrored = boxes(seeds, images.shape[1], images.shape[2])
    return tf.clip_by_value(geometry.crop_and_resize(images, chosen, size, mirrored=mirrored), 0.0, 1.0)


RECIPES: dict[str, Recipe] = {
    "imagenet": natural(IMAGENET, centre_crop=224 / 256),  # as the official evaluation of SemPPL
    "cifar": natural(CIFAR),
    "gentle": natural(GENTLE),
    "grey": natural(GREY),
    "digits": digits(Digits()),
    "randaugment": weak_and_strong(WeakAndStrong()),
    "randaugment_digits": weak_and_strong(WeakAndStrong(flip_probability=0.0)),  # as FixMatch on house numbers
    "identity": identity(),
}


def _jitter(
    images: tf.Tensor, chosen: tf.Tensor, strengths: tf.Tensor, ranks: tf.Tensor, settings: Natural
) -> tf.Tensor:
    """Applies colour jitter with `[N, 4]` uniform strengths to the chosen images, and the identity to the others."""
    moves = tf.where(chosen[:, tf.newaxis], 2.0 * strengths - 1.0, 0.0)
    return augmentations.colour_jitter(
        images,
        brightness=settings.brightness * moves[:, 0],
        contrast=1.0 + settings.contrast * moves[:, 1],
        saturation=1.0 + settings.saturation * moves[:, 2],
        hue=settings.hue * moves[:, 3],
        ranks=ranks,
    )


def _where(chosen: tf.Tensor, operation: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Applies an operation to the chosen images of a batch."""
    return tf.where(chosen[:, tf.newaxis, tf.newaxis, tf.newaxis], operation(images), images)


def _of_view(pair: tuple[float, float], views: tf.Tensor) -> tf.Tensor:
    """Returns the setting of each view, by its parity: `[N]`."""
    return tf.where(views % 2 == 0, pair[0], pair[1])
