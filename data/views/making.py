"""From a batch of images to large and small views, each view by its own stateless seed.

Views are made in two stages, each of which can run where it is fastest: the crop, which needs the whole image, on the host; the
finish, which takes a batch of crops of one size, on the host or on the device.
"""

import tensorflow as tf

from semppl.configs.views import ViewSettings
from semppl.data.views import randomness
from semppl.data.views.crops import crop_views
from semppl.data.views.recipes import Recipe, find_recipe


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


def finish_views(batch: dict[str, tf.Tensor], *, recipe: str) -> dict[str, tf.Tensor]:
    """Finishes crops, the second stage of `make_views`: on the host, under XLA, or at the beginning of a train step.

    Args:
        batch: Crops large `[L, B, h, w, C]` and small `[S, B, h, w, C]`, and the images' seeds `[B, 2]`; other entries are
            copied. A batch without seeds has finished views, and is returned unchanged.
        recipe: Key of `RECIPES`.

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


def _finished(crops: tf.Tensor, seeds: tf.Tensor, first: int, recipe: Recipe) -> tf.Tensor:
    """Finishes crops `[V, B, size, size, C]` of the views numbered from `first`, as one batch."""
    if crops.shape[0] == 0:
        return crops
    numbers = tf.repeat(first + tf.range(crops.shape[0]), tf.shape(crops)[1])  # [V·B]
    finished = recipe.finish(tf.reshape(crops, [-1, *crops.shape[2:]]), tf.reshape(seeds, [-1, 2]), numbers)
    return tf.ensure_shape(tf.reshape(finished, tf.shape(crops)), crops.shape)
