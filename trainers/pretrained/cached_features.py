"""Features of several views of every training image by a frozen encoder: computed once, and kept on disk."""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tqdm

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.data.cached_views import CachedViews
from semppl.data.files.cache import NotCached
from semppl.data.files.lost_pictures import PictureLost, naming_lost_pictures
from semppl.data.images import Images
from semppl.data.streaming import StreamedImageSet
from semppl.data.views.compilation import compile_silently
from semppl.data.views.crops import crop_picture, crop_views
from semppl.data.views.making import finish_views
from semppl.evaluation.features import preparation_of
from semppl.layers.networks import OnlineNetwork
from semppl.runs.files import disk_errors_as, locked
from semppl.trainers.reports.progress import duration

_VERSION = 1  # of the features' order and of the views' seeds
_STREAM = -1  # of the views' seeds; training's streams are not negative
_MOST_IMAGES, _MOST_PIXELS = 256, 2**22  # of a batch: the memory of the network's maps grows with the pixels
_WORTH_COMPILING = 3_000
"""Number of views from which compiling their making pays: it takes seconds, and views then take a third of the time."""
_TYPE = np.dtype(np.float16)
_ROWS = 4096
_VALUES_AT_A_TIME = 2**24  # of features in float64: 128 MiB

Batch = dict[str, tf.Tensor]


class FeatureCache:
    """The file with the features of `--cached_views` views of every training image.

    The file is named after a digest of the images, the encoder's weights and the views' settings, so that another run with the
    same three reads the same file, and a run that differs in any makes a file of its own. Features are appended as they are
    computed: a killed run continues after the last complete batch.

    Args:
        images: Training images.
        hyperparameters: Settings of the run.
        network: Network whose encoder computes the features.
        folder: Folder of the file, made if it is absent.
        flag: Name of the flag that names the folder, for errors.
    """

    def __init__(
        self,
        images: Images,
        hyperparameters: Hyperparameters,
        network: OnlineNetwork,
        folder: pathlib.Path,
        *,
        flag: str = "cache_dir",
    ) -> None:
        self._images = images
        self._settings = hyperparameters
        self._network = network
        self._flag = flag
        size = hyperparameters.large_size
        width = network.encode(tf.zeros([1, size, size, hyperparameters.channels])).shape[-1]
        self._shape = (len(images), hyperparameters.cached_views, width)
        self._path = folder / f"features-{self._key()}.float16"

    def load(self) -> CachedViews:
        """Returns the features of all images; computes and writes those that are missing.

        Raises:
            NotCached: If the file cannot be written, or is damaged; the message names the flag.
            ValueError: If a feature is not finite in float16.
            PictureLost: If a picture is gone or damaged.
        """
        translated = disk_errors_as(
            lambda reason: NotCached(
                f"--{self._flag} must be a folder that can be written, with room for the features. Received: "
                f"{self._path.parent} ({reason}); make room, or choose another folder"
            ),
            but=(NotCached, PictureLost),
        )
        if not self._path.exists():
            with translated:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with locked(self._path.with_suffix(".lock"), wait=True):
                    if not self._path.exists():
                        self._complete()
        if self._path.stat().st_size != self._bytes:
            raise NotCached(
                f"--{self._flag} must hold whole files of features. Received: {self._path}, which is damaged; remove the file"
            )
        features = np.memmap(self._path, _TYPE, mode="r", shape=self._shape)
        return CachedViews(features, self._images.labels, self._images.groups)

    @property
    def _bytes_an_image(self) -> int:
        return self._shape[1] * self._shape[2] * _TYPE.itemsize

    @property
    def _images_together(self) -> int:
        """Number of images in a batch."""
        return max(1, views_at_a_time(self._settings.large_size) // self._shape[1])

    @property
    def _bytes(self) -> int:
        return self._shape[0] * self._bytes_an_image

    def _key(self) -> str:
        """Computes the digest that names the file."""
        settings = self._settings
        views = (settings.recipe, settings.large_size, settings.cached_views, settings.mask_probability)
        digest = hashlib.sha256(repr((_VERSION, views, settings.encoder, settings.precision)).encode())
        for variable in self._network.encoder.variables:
            digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
        pixels = self._network.pixels
        digest.update(repr((pixels.mean, pixels.stddev)).encode())
        for part in _contents(self._images):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()[:24]

    def _complete(self) -> None:
        """Appends the features of the images after the last complete batch, then gives the file its name."""
        part = self._path.with_suffix(".part")
        with part.open("ab") as file:
            whole = file.tell() // self._bytes_an_image
            done = whole // self._images_together * self._images_together  # the same batches give the same bits
            file.truncate(done * self._bytes_an_image)
            self._require_room(self._bytes - done * self._bytes_an_image)
            with naming_lost_pictures():
                for features in self.compute(done):
                    file.write(features.tobytes())
                    file.flush()
            os.fsync(file.fileno())
        part.rename(self._path)

    def _require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._path.parent).free
        if needed > free:
            raise NotCached(
                f"--{self._flag} must have room for the features, {needed / 1e6:,.0f} MB. Received: {self._path.parent}, with "
                f"{free / 1e6:,.0f} MB free; make room, choose another folder, or lower --cached_views"
            )

    def compute(self, first: int) -> Iterator[np.ndarray]:
        """Yields the features `[b, V, F]` of the images from position `first` on, a batch at a time."""
        count, views, width = self._shape
        encode = tf.function(self._network.encode, reduce_retracing=True, autograph=False)
        bar: tqdm.tqdm | None = None
        for batch in self._batches(first):
            by_view = batch["views"]  # [V,b,H,W,C]
            images = tf.reshape(by_view, [-1, *by_view.shape[2:]])
            if bar is None:
                self._announce(encode, images, count - first)
                bar = tqdm.tqdm(total=count, initial=first, unit=" pictures", mininterval=0.5)
            features = tf.reshape(tf.cast(encode(images), _TYPE), [views, -1, width]).numpy()
            features = features.transpose(1, 0, 2)[: count - int(batch["positions"][0])]
            if not np.isfinite(features).all():
                raise ValueError(
                    f"--encoder must give features that are finite in float16. Received: {self._settings.encoder}"
                )
            yield features
            bar.update(len(features))
        if bar is not None:
            bar.close()

    def _announce(self, encode: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor, left: int) -> None:
        """Prints the number of features, their size in MB, and an estimate of the time from one batch."""
        encode(images)  # traces
        start = time.monotonic()
        encode(images)
        seconds = (time.monotonic() - start) / images.shape[0] * left * self._shape[1]
        print(
            f"computing, once, features of {counted(left, 'picture')}, {counted(self._shape[1], 'view')} each, "
            f"by {self._settings.encoder}: {self._bytes / 1e6:,.0f} MB, {self._path}; about {duration(seconds)}",
            flush=True,
        )

    def _batches(self, first: int) -> tf.data.Dataset:
        """Returns batches of positions `[b]` and views `[V, b, H, W, C]`; the last image fills the last batch up."""
        count, views, _ = self._shape
        together = self._images_together
        padded = -(-(count - first) // together) * together
        rows = tf.data.Dataset.range(first, first + padded).map(
            lambda position: {"positions": tf.minimum(position, count - 1)}
        )
        # By all images, also in a run that continues: compiled views differ in the last bits.
        maker = _Views(self._settings, compiled=count * views >= _WORTH_COMPILING)
        if isinstance(self._images, StreamedImageSet):
            made = self._images.map_pictures(rows, maker.crop).batch(together, drop_remainder=True)
            return made.map(maker.finish, num_parallel_calls=1, deterministic=True).prefetch(1)
        pixels = tf.constant(self._images.images)
        masks = None if self._images.masks is None else tf.constant(self._images.masks)

        def gather(row: Batch) -> Batch:
            chosen = None if masks is None else tf.gather(masks, row["positions"])
            return maker.make(row["positions"], tf.gather(pixels, row["positions"]), chosen)

        return rows.batch(together, drop_remainder=True).map(gather).prefetch(1)


def views_at_a_time(size: int) -> int:
    """Returns how many views of `size` pixels a side pass through the network together."""
    return min(_MOST_IMAGES, max(1, _MOST_PIXELS // size**2))


class _Views:
    """Makes the cached views of images: the image as evaluation prepares it, then random large views."""

    def __init__(self, hyperparameters: Hyperparameters, *, compiled: bool) -> None:
        self._recipe = hyperparameters.recipe
        random = hyperparameters.cached_views - 1
        self._random = dataclasses.replace(hyperparameters.views, large_views=random, small_views=0) if random else None
        self._prepare = preparation_of(hyperparameters)
        if compiled:
            compile_silently()
        self._finish_views = tf.function(finish_views, jit_compile=compiled, autograph=False)

    def crop(self, row: Batch) -> Batch:
        """Crops one picture of a stream: positions `[]`, seeds `[2]`, plain `[H, W, C]`, large `[V - 1, H, W, C]`."""
        seed = _seeds(row["positions"])
        cut = {"positions": row["positions"], "seeds": seed, "plain": self._prepare(row["image"][tf.newaxis])[0]}
        return (
            cut
            if self._random is None
            else cut | crop_picture(row["image"], self._random, seed=seed, mask=row.get("mask"))
        )

    def finish(self, batch: Batch) -> Batch:
        """Finishes a batch of what `crop` returns: positions `[b]`, views `[V, b, H, W, C]`."""
        if self._random is None:
            return {"positions": batch["positions"], "views": batch["plain"][tf.newaxis]}
        crops = {"seeds": batch["seeds"]} | {
            name: tf.transpose(batch[name], [1, 0, 2, 3, 4]) for name in ("large", "small")
        }
        return self._joined(batch["positions"], batch["plain"], crops)

    def make(self, positions: tf.Tensor, images: tf.Tensor, masks: tf.Tensor | None) -> Batch:
        """Makes the views of images `[b, H, W, C]`: positions `[b]`, views `[V, b, size, size, C]`."""
        plain = self._prepare(images)
        if self._random is None:
            return {"positions": positions, "views": plain[tf.newaxis]}
        seeds = _seeds(positions)
        crops = crop_views(images, self._random, seed=seeds, masks=masks)
        return self._joined(positions, plain, crops | {"seeds": seeds})

    def _joined(self, positions: tf.Tensor, plain: tf.Tensor, crops: Batch) -> Batch:
        large = self._finish_views(crops, recipe=self._recipe)["large"]
        return {"positions": positions, "views": tf.concat([plain[tf.newaxis], large], axis=0)}


def _seeds(positions: tf.Tensor) -> tf.Tensor:
    """Returns a seed for each image, `[..., 2]`: the views depend on the image's position alone, not on the run."""
    return tf.stack([tf.fill(tf.shape(positions), tf.constant(_STREAM, tf.int64)), positions], axis=-1)


def _contents(images: Images) -> Iterator[bytes]:
    """Yields the bytes of all images, and of their masks, in order."""
    if not isinstance(images, StreamedImageSet):
        yield repr(images.images.shape).encode()
        for part in (images.images, images.masks):
            if part is not None:
                yield from (
                    np.ascontiguousarray(part[first : first + _ROWS]).tobytes() for first in range(0, len(part), _ROWS)
                )
        return
    rows = tf.data.Dataset.range(len(images)).batch(64).map(images.encoded, num_parallel_calls=tf.data.AUTOTUNE)
    with naming_lost_pictures():
        for batch in rows.as_numpy_iterator():
            for name in sorted(batch):
                yield from batch[name]


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean and the standard deviation of every feature over images and views.

    Args:
        features: `[n, V, F]` float16, in memory or mapped from a file.

    Returns:
        Two arrays `[F]` float32.
    """
    rows = max(1, _VALUES_AT_A_TIME // int(np.prod(features.shape[1:])))
    blocks = [features[first : first + rows] for first in range(0, len(features), rows)]
    mean = np.sum([block.sum((0, 1), dtype=np.float64) for block in blocks], axis=0) / np.prod(features.shape[:2])
    squares = [np.square(block.astype(np.float64) - mean).sum((0, 1)) for block in blocks]
    stddev = np.sqrt(np.sum(squares, axis=0) / np.prod(features.shape[:2]))
    return mean.astype(np.float32), stddev.astype(np.float32)
