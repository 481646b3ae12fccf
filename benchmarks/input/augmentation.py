"""Measures source images per second turned into two augmented 32×32 views, against a per-image map of tf.image operations.

    python -m semppl.benchmarks.input.augmentation

Both crop, flip, jitter and drop colours, from bytes in memory, in tf.data with a parallel map; ours also solarises. They
are timed in turns. On a busy machine, read the second rate, per second of processor time.
"""

import os

import numpy as np
import tensorflow as tf
from absl import app, flags

from semppl.benchmarks.instruments.rates import rates
from semppl.configs.views import ViewSettings
from semppl.data.views import recipes
from semppl.data.views.making import make_views
from semppl.programs.batch_size_flag import BatchSize

_BATCH_SIZE = BatchSize(256, "Images per batch.")
_BATCHES = flags.DEFINE_integer("batches", 40, "Batches per round.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("passes", 7, "Rounds per pipeline.", lower_bound=1)

_SIZE = 32
_SETTINGS = recipes.CIFAR


def ours(images: tf.data.Dataset, batch_size: int, *, jit_compile: bool) -> tf.data.Dataset:
    """Returns batches of views made batch by batch."""

    @tf.function(jit_compile=jit_compile)
    def make(batch: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        views = ViewSettings(recipe="cifar", large_views=2, small_views=0, large_size=_SIZE, small_size=_SIZE)
        return make_views(batch, views, seed=seeds)["large"]

    batches = images.batch(batch_size, drop_remainder=True)
    return batches.map(make, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def plain(images: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Returns batches of views made image by image, as tutorials do; its jitter has one order."""

    def view(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 9))
        start, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            [_SIZE, _SIZE, 3],
            tf.zeros([0, 0, 4]),
            seeds[0],
            aspect_ratio_range=_SETTINGS.crop_aspect,
            area_range=_SETTINGS.crop_area,
            use_image_if_no_bounding_boxes=True,
        )
        cut = tf.slice(tf.image.convert_image_dtype(image, tf.float32), start, size)
        cropped = tf.clip_by_value(tf.image.resize(cut, [_SIZE, _SIZE], "bicubic"), 0.0, 1.0)
        flipped = tf.image.stateless_random_flip_left_right(cropped, seeds[1])
        coin = tf.random.stateless_uniform([2], seeds[2])
        jittered = tf.cond(coin[0] < _SETTINGS.jitter_probability, lambda: jitter(flipped, seeds[3:]), lambda: flipped)
        return tf.cond(coin[1] < _SETTINGS.grayscale_probability, lambda: grey(jittered), lambda: jittered)

    def jitter(image: tf.Tensor, seeds: list[tf.Tensor]) -> tf.Tensor:
        image = tf.image.stateless_random_brightness(image, _SETTINGS.brightness, seeds[0])
        lower, upper = 1 - _SETTINGS.contrast, 1 + _SETTINGS.contrast
        image = tf.image.stateless_random_contrast(tf.clip_by_value(image, 0.0, 1.0), lower, upper, seeds[1])
        lower, upper = 1 - _SETTINGS.saturation, 1 + _SETTINGS.saturation
        image = tf.image.stateless_random_saturation(tf.clip_by_value(image, 0.0, 1.0), lower, upper, seeds[2])
        return tf.image.stateless_random_hue(tf.clip_by_value(image, 0.0, 1.0), _SETTINGS.hue, seeds[3])

    def grey(image: tf.Tensor) -> tf.Tensor:
        return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))

    def make(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.stack([view(image, own) for own in tf.unstack(tf.random.experimental.stateless_split(seed, 2))])

    made = images.map(make, num_parallel_calls=tf.data.AUTOTUNE)
    return made.batch(batch_size, drop_remainder=True).prefetch(2)


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    count = _BATCH_SIZE.value * _BATCHES.value
    levels = np.random.default_rng(0).integers(0, 256, (count, _SIZE, _SIZE, 3), np.uint8)
    seeds = np.stack([np.zeros(count), np.arange(count)], axis=1).astype(np.int32)
    images = tf.data.Dataset.from_tensor_slices((levels, seeds))
    datasets = {
        "ours, compiled": ours(images, _BATCH_SIZE.value, jit_compile=True),
        "ours, graph": ours(images, _BATCH_SIZE.value, jit_compile=False),
        "tf.image, image by image": plain(images, _BATCH_SIZE.value),
    }
    print(f"{os.cpu_count()} processors, batch {_BATCH_SIZE.value}, load {os.getloadavg()[0]:.1f} before")
    print("| two 32×32 views of each | images/s | images per processor second |\n|---|---|---|")
    for name, (wall, used) in rates(datasets, count, _ROUNDS.value).items():
        print(f"| {name} | {wall:,.0f} | {used:,.0f} |")


if __name__ == "__main__":
    _BATCH_SIZE.define()
    app.run(main)
