"""From images to batches of views: every batch is a pure function of the seed and the step."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.balance import BalancedOrder
from semppl.data.cached_views import CachedViews
from semppl.data.images import NO_LABEL, Images, ImageSet
from semppl.data.streaming import StreamedImageSet
from semppl.data.views.compilation import compile_silently
from semppl.data.views.crops import crop_picture, crop_views
from semppl.data.views.making import finish_views

LABELLED, UNLABELLED = 0, 1
Row = dict[str, tf.Tensor]
_LAST_EPOCH = 2**40
_AT_A_TIME = 2  # batches whose views are finished in parallel: a batch of large views takes gigabytes
_WORTH_COMPILING = 500
"""Number of steps; a run is either compiled or not, because the results differ in the last bits."""


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Makes the batches of a run.

    A batch has a fixed number of labelled images, followed by unlabelled images, from two streams. Each stream shuffles its
    images anew every epoch. The positions of the streams are functions of the step, so that a run can resume at any step. Rows
    are distributed over replicas so that the global batch does not depend on the number of replicas.

    Attributes:
        images: Training images, with their true labels, or cached views of them.
        labels: `[n]` int32, NO_LABEL where hidden.
        hyperparameters: Resolved hyper-parameters; see `Hyperparameters.resolved`.
        finish_on_device: Whether the train step, not the pipeline, computes the second stage of the views.
    """

    images: Images | CachedViews
    labels: np.ndarray
    hyperparameters: Hyperparameters
    finish_on_device: bool = False

    def batches(self, *, first_step: int, num_replicas: int = 1, replicas: Sequence[int] = (0,)) -> tf.data.Dataset:
        """Returns the batches from `first_step` to the end of the run, one element per step and replica.

        Args:
            first_step: Step of the first batch.
            num_replicas: Number of replicas that share a global batch.
            replicas: Indices of the replicas for which batches are returned.

        Returns:
            Dataset of dicts: large `[L, B, H, W, C]` and small `[S, B, h, w, C]` in 0..1; labels `[B]` int32, NO_LABEL where
            hidden; truth `[B]` int32, the true labels, for reports only; groups `[B]` int64. Labelled rows come first. Cached views
            are features, large `[L, B, F]` and small `[0, B, F]`. With
            `finish_on_device`, large and small are crops, and seeds `[B, 2]` int64 are added, for `making.finish_views`.
        """
        settings = self.hyperparameters
        num_labelled = settings.labelled_batch_size
        streams = []
        for stream, rows in ((LABELLED, num_labelled), (UNLABELLED, settings.batch_size - num_labelled)):
            if rows:
                members = np.flatnonzero((self.labels == NO_LABEL) == (stream == UNLABELLED))
                streams.append(self._stream(members, stream, rows, first_step, num_replicas, replicas))
        rows = tf.data.Dataset.zip(tuple(streams)).map(lambda *parts: tf.nest.map_structure(_join, *parts))
        rows = rows.take((settings.steps - first_step) * len(replicas))
        if isinstance(self.images, CachedViews):
            draw = functools.partial(self.images.draw, count=settings.large_views)
            made = rows.map(draw, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        elif isinstance(self.images, StreamedImageSet):
            made = self._streamed(self.images, rows, settings.batch_size // num_replicas)
        else:
            made = rows.map(self._gathered, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return made.map(self._labelled).prefetch(2)

    def _stream(
        self, members: np.ndarray, stream: int, rows: int, first_step: int, num_replicas: int, replicas: Sequence[int]
    ) -> tf.data.Dataset:
        """Returns the positions and seeds of one stream: `rows` per step, `rows / num_replicas` per replica."""
        first = first_step * rows
        seed = self.hyperparameters.seed * 2 + stream
        if stream == LABELLED and self.hyperparameters.class_balance:
            order = balanced_epochs_of(members, self.labels[members], first=first, seed=seed)
        else:
            order = epochs_of(members, first=first, seed=seed)
        positions = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
        dealt = tf.data.Dataset.zip((order, positions)).batch(rows // num_replicas, drop_remainder=True)
        turns = tf.data.Dataset.range(num_replicas).repeat()
        ours = tf.data.Dataset.zip((turns, dealt)).filter(lambda turn, _: tf.reduce_any(turn == list(replicas)))
        return ours.map(lambda _, row: {"positions": row[0], "seeds": self._seeds(stream, row[1])})

    def _seeds(self, stream: int, positions: tf.Tensor) -> tf.Tensor:
        """Returns one seed `[2]` per row, different every time an image occurs: `[B, 2]`."""
        return tf.stack(
            [tf.fill(tf.shape(positions), tf.constant(self.hyperparameters.seed * 2 + stream, tf.int64)), positions], 1
        )

    @functools.cached_property
    def _gathered(self) -> Callable[[Row], Row]:
        """Function from rows to views of images in memory; crops only, if the device finishes the views."""
        images, views = cast(ImageSet, self.images), self.hyperparameters.views
        pixels = tf.constant(images.images)
        masks = None if images.masks is None else tf.constant(images.masks)

        @self._compiled
        def make(row: Row, batch: tf.Tensor, masks: tf.Tensor | None) -> Row:
            crops = crop_views(batch, views, seed=row["seeds"], masks=masks)
            return self._finished(row | crops)

        def gather(row: Row) -> Row:
            return make(
                row, tf.gather(pixels, row["positions"]), None if masks is None else tf.gather(masks, row["positions"])
            )

        return gather

    def _streamed(self, images: StreamedImageSet, rows: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """Maps rows to views of pictures on disk: crops are made one by one, and finished in batches."""
        views = self.hyperparameters.views

        def crop(row: Row) -> Row:
            crops = crop_picture(row["image"], views, seed=row["seeds"], mask=row.get("mask"))
            return {"positions": row["positions"], "seeds": row["seeds"], **crops}

        batches = images.map_pictures(rows.unbatch(), crop).batch(batch_size, drop_remainder=True)
        return batches.map(self._finish_crops, num_parallel_calls=_AT_A_TIME, deterministic=True)

    @functools.cached_property
    def _finish_crops(self) -> Callable[[Row], Row]:
        """Function that finishes a batch of crops, `[B, L, H, W, C]` and `[B, S, h, w, C]`, unless the device finishes them."""

        @self._compiled
        def finish(batch: Row) -> Row:
            by_view = {name: tf.transpose(batch[name], [1, 0, 2, 3, 4]) for name in ("large", "small")}
            return self._finished(batch | by_view)

        return finish

    def _finished(self, batch: Row) -> Row:
        return batch if self.finish_on_device else finish_views(batch, recipe=self.hyperparameters.recipe)

    def _compiled(self, function: Callable[..., Row]) -> Callable[..., Row]:
        """Compiles a function with XLA, three times as fast as the plain graph, unless the run is too short to gain from that."""
        compiled = self.hyperparameters.steps >= _WORTH_COMPILING
        if compiled:
            compile_silently()
        return tf.function(function, jit_compile=compiled, autograph=False)

    def _labelled(self, batch: Row) -> Row:
        """Replaces the positions by labels, ground truth and groups."""
        batch = dict(batch)
        positions = batch.pop("positions")
        labels, truth = (tf.gather(tf.constant(part), positions) for part in (self.labels, self.images.labels))
        groups = self.images.groups
        shown = positions if groups is None else tf.gather(tf.constant(groups, tf.int64), positions)
        return batch | {"labels": labels, "truth": truth, "groups": shown}


def epochs_of(members: np.ndarray, *, first: int, seed: int) -> tf.data.Dataset:
    """Repeats `members` for ever, in a new order every epoch.

    Args:
        members: `[n]` int64, n ≥ 1.
        first: Index of the first element: position `first % n` of epoch `first // n`.
        seed: Seed of the orders.

    Returns:
        Infinite dataset of int64 scalars.
    """

    def order_of(epoch: tf.Tensor) -> tf.Tensor:
        return tf.random.experimental.stateless_shuffle(
            tf.constant(members, tf.int64), seed=[tf.constant(seed, tf.int64), epoch]
        )

    return _epochs(order_of, len(members), first)


def balanced_epochs_of(members: np.ndarray, labels: np.ndarray, *, first: int, seed: int) -> tf.data.Dataset:
    """Repeats `members` like `epochs_of`, with every class equally often; see `BalancedOrder`.

    Args:
        members: `[n]` int64, n ≥ 1.
        labels: Integers `[n]`, classes of the members.
        first: Index of the first element.
        seed: Seed of the orders.

    Returns:
        Infinite dataset of int64 scalars.
    """
    balanced = BalancedOrder(members, labels)
    return _epochs(functools.partial(balanced.of_epoch, seed=seed), len(balanced), first)


def _epochs(order_of: Callable[[tf.Tensor], tf.Tensor], length: int, first: int) -> tf.data.Dataset:
    """Concatenates the orders of all epochs, from position `first` on."""
    first_epoch, skipped = divmod(first, length)

    def rest(epoch: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(order_of(epoch)[tf.where(epoch == first_epoch, skipped, 0) :])

    return tf.data.Dataset.range(first_epoch, _LAST_EPOCH).flat_map(rest)


def _join(*parts: tf.Tensor) -> tf.Tensor:
    return tf.concat(parts, axis=0)
