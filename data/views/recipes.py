"""From a batch of images to large and small views, each view by its own stateless seed.

In two stages, so that each can run where it is at home: the crop, which needs the image as it is, on the host; the
finish, which takes crops of one size, batched, on the host or on the device.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import tensorflow as tf

from semppl.configs.views import ViewSettings
from semppl.data.views import augmentations, geometry, randomness

Boxes = Callable[[tf.Tensor, tf.Tensor | int, tf.Tensor | int], tuple[tf.Tensor, tf.Tensor]]
"""`(seeds [N,2], height, width) -> (boxes [N,4] as crop_boxes gives them, mirrored [N] bool)`."""


@dataclass(frozen=True)
class Recipe:
    """How views are made, in two stages; both are pure, and see one seed per view.

    Attributes:
        crop: `(images [N,H,W,C], seeds [N,2], size) -> [N,size,size,C]`, all in [0, 1].
        finish: `(crops [N,size,size,C], seeds [N,2], view numbers [N] int32) -> [N,size,size,C]`, in [0, 1].
        boxes: where `crop` looks, if it only cuts out, resizes and mirrors; else None.
        centre_crop: Side of the central square that evaluation and serving take of an image, as a share of the shorter side,
            in (0, 1]; 1 takes the whole image.
    """

    crop: Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]
    finish: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
    boxes: Boxes | None = None
    centre_crop: float = 1.0

    def __call__(self, images: tf.Tensor, seeds: tf.Tensor, views: tf.Tensor, size: int) -> tf.Tensor:
        """Makes one view of each image."""
        return self.finish(self.crop(images, seeds, size), seeds, views)


@dataclass(frozen=True)
class Digits:
    """Ranges for small grey scans of hand-writing; nothing is mirrored."""

    shift: float = 0.15  # of the image's size: about one pixel of eight
    zoom: float = 0.2
    rotation: float = 20.0  # degrees
    shear: float = 0.25
    contrast: float = 0.4
    brightness: float = 0.1
    noise: float = 0.1


@dataclass(frozen=True)
class Natural:
    """The official recipe for photographs; a pair holds one value for even and one for odd views.

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
# No blur on 32 pixels, as in Chen et al. 2020, arXiv 2002.05709, appendix B.9; it would take what detail there is.
CIFAR = replace(IMAGENET, blur_probability=(0.0, 0.0))
# For short runs of small encoders, which find the like of a twelfth of an image too late; measured, docs/results.md.
GENTLE = replace(CIFAR, crop_area=(0.3, 1.0), solarize_probability=(0.0, 0.0))
GREY = replace(CIFAR, saturation=0.0, hue=0.0, grayscale_probability=0.0, solarize_probability=(0.0, 0.0))

BACKGROUND = 0.5


def make_views(
    images: tf.Tensor, settings: ViewSettings, *, seed: tf.Tensor, masks: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Makes random views of each image, which depend on the image's own seed and on nothing else.

    Large views are numbers 0 to L - 1 of an image's views, small views the numbers after them.

    Args:
        images: `[B, H, W, C]` uint8 or uint16, their whole range, or float32 in [0, 1].
        settings: Recipe, number and size of the views, and how often a large view loses its background to mid-grey.
        seed: `[B, 2]` int32 or int64, one per image and step.
        masks: `[B, H, W]` numbers or booleans, zero on the background; None leaves backgrounds alone.

    Returns:
        `{"large": [L, B, large_size, large_size, C], "small": [S, B, small_size, small_size, C]}`, float32 in [0, 1].

    Raises:
        ValueError: For an unknown recipe, or images, seeds or masks of another type or shape.

    Reference: Tomasev et al. 2022, arXiv 2201.05119 (multi-crop, saliency masking).
    """
    crops = crop_views(images, settings, seed=seed, masks=masks)
    return finish_views(crops | {"seeds": seed}, recipe=settings.recipe)


def crop_views(
    images: tf.Tensor, settings: ViewSettings, *, seed: tf.Tensor, masks: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Crops the views of images of one size, the first stage of `make_views`; see there for arguments and shapes."""
    stages = find_recipe(settings.recipe)
    if images.dtype not in (tf.uint8, tf.uint16, tf.float32) or images.shape.rank != 4:
        raise ValueError(
            f"`images` must be uint8, uint16 or float32 of shape [B, H, W, C]. Received: {images.dtype.name} {images.shape}"
        )
    if masks is not None and masks.shape != images.shape[:3]:
        raise ValueError(
            f"`masks` must be [B, H, W] of the images {images.shape}. Received: masks of shape {masks.shape}"
        )
    sources = tf.image.convert_image_dtype(images, tf.float32)
    seeds = randomness.split(seed, settings.num_views)  # [V,B,2]
    large, small = seeds[: settings.large_views], seeds[settings.large_views :]
    large_sources = _repeat(sources, settings.large_views)
    if masks is not None:
        masks = _repeat(masks, settings.large_views)
        large_sources = _remove_background(large_sources, masks, large, settings.mask_probability)
    return {
        "large": _crops(large_sources, large, stages, settings.large_size),
        "small": _crops(_repeat(sources, settings.small_views), small, stages, settings.small_size),
    }


def finish_views(batch: dict[str, tf.Tensor], *, recipe: str) -> dict[str, tf.Tensor]:
    """Does the second stage of `make_views`: it is the same on the host, under XLA, and as the beginning of a train step.

    Args:
        batch: crops large `[L, B, h, w, C]` and small `[S, B, h, w, C]`, and the images' seeds `[B, 2]`; more stays as it is.
            Without seeds its views are finished already.
        recipe: a key of `RECIPES`.

    Returns:
        The batch with finished views and without seeds.
    """
    if "seeds" not in batch:
        return batch
    stages, rest = find_recipe(recipe), {name: value for name, value in batch.items() if name != "seeds"}
    large_views = batch["large"].shape[0]
    seeds = randomness.split(batch["seeds"], large_views + batch["small"].shape[0])  # [V,B,2]
    return rest | {
        "large": _finished(batch["large"], seeds[:large_views], 0, stages),
        "small": _finished(batch["small"], seeds[large_views:], large_views, stages),
    }


def find_recipe(name: str) -> Recipe:
    """Looks a recipe up.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in RECIPES:
        raise ValueError(f"`recipe` must be one of {sorted(RECIPES)}. Received: recipe={name!r}")
    return RECIPES[name]


def loses_background(seeds: tf.Tensor, probability: float) -> tf.Tensor:
    """Decides which large views lose their background: `[N, 2]` seeds give `[N]` bool."""
    return randomness.uniform(seeds, "mask") < probability


def identity() -> Recipe:
    """Resizes only."""

    def boxes(seeds: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
        whole = tf.stack([0.0, 0.0, tf.cast(height, tf.float32), tf.cast(width, tf.float32)])
        count = tf.shape(seeds)[0]
        return tf.tile(whole[tf.newaxis], [count, 1]), tf.zeros([count], tf.bool)

    return Recipe(functools.partial(_cut, boxes=boxes), lambda crops, seeds, views: crops, boxes)


def digits(settings: Digits) -> Recipe:
    """Moves, zooms, turns and leans; then scales, lifts and adds noise."""

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
    """Crops and flips; then jitters the colours, drops them, blurs and solarises, each by chance."""

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


def _cut(images: tf.Tensor, seeds: tf.Tensor, size: int, *, boxes: Boxes) -> tf.Tensor:
    chosen, mirrored = boxes(seeds, images.shape[1], images.shape[2])
    return tf.clip_by_value(geometry.crop_and_resize(images, chosen, size, mirrored=mirrored), 0.0, 1.0)


RECIPES: dict[str, Recipe] = {
    "imagenet": natural(IMAGENET, centre_crop=224 / 256),  # as the official evaluation of SemPPL
    "cifar": natural(CIFAR),
    "gentle": natural(GENTLE),
    "grey": natural(GREY),
    "digits": digits(Digits()),
    "identity": identity(),
}


def _jitter(
    images: tf.Tensor, chosen: tf.Tensor, strengths: tf.Tensor, ranks: tf.Tensor, settings: Natural
) -> tf.Tensor:
    """Jitters the chosen images by `[N, 4]` uniform strengths; the others get strengths that change nothing."""
    moves = tf.where(chosen[:, tf.newaxis], 2.0 * strengths - 1.0, 0.0)
    return augmentations.colour_jitter(
        images,
        brightness=settings.brightness * moves[:, 0],
        contrast=1.0 + settings.contrast * moves[:, 1],
        saturation=1.0 + settings.saturation * moves[:, 2],
        hue=settings.hue * moves[:, 3],
        ranks=ranks,
    )


def _remove_background(images: tf.Tensor, masks: tf.Tensor, seeds: tf.Tensor, probability: float) -> tf.Tensor:
    chosen = loses_background(tf.reshape(seeds, [-1, 2]), probability)  # [N]
    background = chosen[:, tf.newaxis, tf.newaxis] & ~tf.cast(masks, tf.bool)
    return tf.where(background[..., tf.newaxis], BACKGROUND, images)


def _where(chosen: tf.Tensor, operation: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Applies an operation to the chosen images of a batch."""
    return tf.where(chosen[:, tf.newaxis, tf.newaxis, tf.newaxis], operation(images), images)


def _of_view(pair: tuple[float, float], views: tf.Tensor) -> tf.Tensor:
    """The setting of even or of odd views: `[N]`."""
    return tf.where(views % 2 == 0, pair[0], pair[1])


def _repeat(batch: tf.Tensor, count: int) -> tf.Tensor:
    """The whole batch `count` times, one after the other: `[count · B, ...]`."""
    return tf.tile(batch, [count, *[1] * (batch.shape.rank - 1)])


def _crops(images: tf.Tensor, seeds: tf.Tensor, recipe: Recipe, size: int) -> tf.Tensor:
    """Crops `[V · B, H, W, C]` images with `[V, B, 2]` seeds, as one batch: `[V, B, size, size, C]`."""
    count, batch, channels = seeds.shape[0], seeds.shape[1], images.shape[-1]
    if count == 0:
        return tf.zeros([0, tf.shape(seeds)[1], size, size, channels])
    crops = tf.reshape(recipe.crop(images, tf.reshape(seeds, [-1, 2]), size), [count, -1, size, size, channels])
    return tf.ensure_shape(crops, [count, batch, size, size, channels])


def _finished(crops: tf.Tensor, seeds: tf.Tensor, first: int, recipe: Recipe) -> tf.Tensor:
    """Finishes `[V, B, size, size, C]` crops, views `first` and on, as one batch."""
    if crops.shape[0] == 0:
        return crops
    numbers = tf.repeat(first + tf.range(crops.shape[0]), tf.shape(crops)[1])  # [V·B]
    finished = recipe.finish(tf.reshape(crops, [-1, *crops.shape[2:]]), tf.reshape(seeds, [-1, 2]), numbers)
    return tf.ensure_shape(tf.reshape(finished, tf.shape(crops)), crops.shape)
