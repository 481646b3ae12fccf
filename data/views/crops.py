"""The first stage of making views: crops of a batch of images of one size, or of one picture of any size.

Both functions compute the same crops.
"""

import tensorflow as tf

from semppl.configs.views import ViewSettings
from semppl.data.views import randomness
from semppl.data.views.compilation import compile_silently
from semppl.data.views.recipes import Recipe, boxes_of, find_recipe

BACKGROUND = 0.5
"""Grey level that replaces a removed background."""


def crop_views(
    images: tf.Tensor, settings: ViewSettings, *, seed: tf.Tensor, masks: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Crops the views of images of one size, the first stage of `making.make_views`; see there for arguments and shapes."""
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


def crop_picture(
    image: tf.Tensor, settings: ViewSettings, *, seed: tf.Tensor, mask: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Crops the views of one picture of any size, with the numbers of `crop_views`.

    The box of each view is cut out and resized by TensorFlow's kernel, because products with weight matrices, as in `crop_views`,
    are slow for large pictures.

    Args:
        image: `[H, W, C]` uint8, or float32 in [0, 1].
        settings: Number and size of the views; the recipe must be one that only crops boxes.
        seed: `[2]` int32 or int64, of the picture and the step.
        mask: `[H, W]` numbers, zero on the background; None leaves backgrounds alone.

    Returns:
        `{"large": [L, large_size, large_size, C], "small": [S, small_size, small_size, C]}`, float32 in [0, 1].

    Raises:
        ValueError: If the recipe does more than crop boxes.
    """
    boxes_of(settings.recipe)
    height, width = tf.unstack(tf.shape(image)[:2])
    large_size, small_size, large_views = settings.large_size, settings.small_size, settings.large_views
    compile_silently()
    boxes, mirrored, bare = _plan(seed, height, width, settings)

    def view(number: int, size: int) -> tf.Tensor:
        top, left, high, wide = tf.unstack(boxes[number])
        cut = image[top : top + high, left : left + wide]
        if mask is not None and number < large_views:
            background = bare[number] & (mask[top : top + high, left : left + wide] == 0)
            cut = tf.image.convert_image_dtype(cut, tf.float32)
            cut = tf.where(background[..., tf.newaxis], BACKGROUND, cut)
        # The kernel reads integers directly, so that large pictures need not be cast to floating-point.
        scale = 1.0 if cut.dtype.is_floating else 1.0 / cut.dtype.max
        resized = tf.clip_by_value(tf.image.resize(cut, [size, size], "bicubic") * scale, 0.0, 1.0)
        flipped = tf.cond(mirrored[number], lambda: tf.reverse(resized, [1]), lambda: resized)
        return tf.ensure_shape(flipped, [size, size, image.shape[-1]])

    small = [view(large_views + number, small_size) for number in range(settings.small_views)]
    return {
        "large": tf.stack([view(number, large_size) for number in range(large_views)]),
        "small": tf.stack(small) if small else tf.zeros([0, small_size, small_size, image.shape[-1]]),
    }


def removes_background(seeds: tf.Tensor, probability: float) -> tf.Tensor:
    """Draws the large views whose background is removed: `[N, 2]` seeds give `[N]` bool."""
    return randomness.uniform(seeds, "mask") < probability


@tf.function(jit_compile=True, autograph=False)  # hundreds of tiny operations
def _plan(
    seed: tf.Tensor, height: tf.Tensor, width: tf.Tensor, settings: ViewSettings
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws boxes `[V, 4]` int32, which views are mirrored, `[V]` bool, and whose background is removed, `[V]` bool."""
    seeds = randomness.split(seed[tf.newaxis], settings.num_views)[:, 0]  # [V,2]
    chosen, mirrored = boxes_of(settings.recipe)(seeds, height, width)
    return tf.cast(chosen, tf.int32), mirrored, removes_background(seeds, settings.mask_probability)


def _remove_background(images: tf.Tensor, masks: tf.Tensor, seeds: tf.Tensor, probability: float) -> tf.Tensor:
    chosen = removes_background(tf.reshape(seeds, [-1, 2]), probability)  # [N]
    background = chosen[:, tf.newaxis, tf.newaxis] & ~tf.cast(masks, tf.bool)
    return tf.where(background[..., tf.newaxis], BACKGROUND, images)


def _repeat(batch: tf.Tensor, count: int) -> tf.Tensor:
    """Repeats the whole batch `count` times: `[count · B, ...]`."""
    return tf.tile(batch, [count, *[1] * (batch.shape.rank - 1)])


def _crops(images: tf.Tensor, seeds: tf.Tensor, recipe: Recipe, size: int) -> tf.Tensor:
    """Crops `[V · B, H, W, C]` images with `[V, B, 2]` seeds, as one batch: `[V, B, size, size, C]`."""
    count, batch, channels = seeds.shape[0], seeds.shape[1], images.shape[-1]
    if count == 0:
        return tf.zeros([0, tf.shape(seeds)[1], size, size, channels])
    crops = tf.reshape(recipe.crop(images, tf.reshape(seeds, [-1, 2]), size), [count, -1, size, size, channels])
    return tf.ensure_shape(crops, [count, batch, size, size, channels])
