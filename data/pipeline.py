"""From images to batches of views: every batch is a pure function of the seed and the step."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data import views
from semppl.data.sources import NO_LABEL, ImageSet

LABELLED, UNLABELLED = 0, 1
_LAST_EPOCH = 2**40
_WORTH_COMPILING = 500
"""Steps; a run keeps to one of both ways, for they differ in the last bits."""


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Makes the batches of a run.

    A batch holds a fixed number of labelled images, first, and then unlabelled ones, from two streams. Each stream goes
    through its images in a new order every epoch. The streams' positions follow from the step, so a run that was stopped
    goes on anywhere at once, and rows are dealt to replicas so that the global batch is the same for any number of them.

    Attributes:
        images: the training images, with their true labels.
        labels: `[n]` int32, NO_LABEL where hidden.
        hyperparameters: resolved (see `Hyperparameters.resolved`).
    """

    images: ImageSet
    labels: np.ndarray
    hyperparameters: Hyperparameters

    def batches(self, *, first_step: int, num_replicas: int = 1, replicas: Sequence[int] = (0,)) -> tf.data.Dataset:
        """Returns the batches from `first_step` to the end of the run, one element per step and replica.

        Args:
            first_step: the step to start at.
            num_replicas: replicas that share a global batch.
            replicas: the ones to feed from here.

        Returns:
            Dataset of dicts: large `[L, B, H, W, C]` and small `[S, B, h, w, C]` in 0..1; labels `[B]` int32, NO_LABEL where
            hidden; truth `[B]` int32, the true labels, for reports only; ids `[B]` int64. Labelled rows come first.
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
        return rows.map(self._views, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)

    def _stream(
        self, members: np.ndarray, stream: int, rows: int, first_step: int, num_replicas: int, replicas: Sequence[int]
    ) -> tf.data.Dataset:
        """Deals positions and images of one stream: `rows` a step, `rows / num_replicas` a replica."""
        first = first_step * rows
        order = epochs_of(members, first=first, seed=self.hyperparameters.seed * 2 + stream)
        positions = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
        dealt = tf.data.Dataset.zip((order, positions)).batch(rows // num_replicas, drop_remainder=True)
        turns = tf.data.Dataset.range(num_replicas).repeat()
        ours = tf.data.Dataset.zip((turns, dealt)).filter(lambda turn, _: tf.reduce_any(turn == list(replicas)))
        return ours.map(lambda _, row: {"ids": row[0], "seeds": self._seeds(stream, row[1])})

    def _seeds(self, stream: int, positions: tf.Tensor) -> tf.Tensor:
        """Returns one seed per row: an image that comes twice is not augmented twice alike."""
        return tf.stack(
            [tf.fill(tf.shape(positions), tf.constant(self.hyperparameters.seed * 2 + stream, tf.int64)), positions], 1
        )

    @functools.cached_property
    def _views(self) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
        """Makes a batch of views out of rows; compiled for any but the shortest runs, where it would not pay."""
        settings = self.hyperparameters
        images, truth, labels = (tf.constant(part) for part in (self.images.images, self.images.labels, self.labels))
        masks = None if self.images.masks is None else tf.constant(self.images.masks)

        @tf.function(jit_compile=settings.steps >= _WORTH_COMPILING)  # three times as fast as the plain graph
        def make_views(pictures: tf.Tensor, seeds: tf.Tensor, background: tf.Tensor | None) -> dict[str, tf.Tensor]:
            return views.make_views(
                pictures,
                seed=seeds,
                recipe=settings.recipe,
                large_views=settings.large_views,
                small_views=settings.small_views,
                large_size=settings.large_size,
                small_size=settings.small_size,
                masks=background,
                mask_probability=settings.mask_probability,
            )

        def make(row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            ids = row["ids"]
            background = None if masks is None else tf.gather(masks, ids)
            batch = make_views(tf.gather(images, ids), row["seeds"], background)
            return batch | {"labels": tf.gather(labels, ids), "truth": tf.gather(truth, ids), "ids": ids}

        return make


def epochs_of(members: np.ndarray, *, first: int, seed: int) -> tf.data.Dataset:
    """Goes through `members` again and again, in a new order every epoch.

    Args:
        members: `[n]` int64, n ≥ 1.
        first: where to start: epoch `first // n`, position `first % n` in it.
        seed: of the orders.

    Returns:
        Endless dataset of scalars, int64.
    """
    first_epoch, skipped = divmod(first, len(members))

    def epoch_order(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.constant(members, tf.int64), seed=[tf.constant(seed, tf.int64), epoch]
        )
        return tf.data.Dataset.from_tensor_slices(order[tf.where(epoch == first_epoch, skipped, 0) :])

    return tf.data.Dataset.range(first_epoch, _LAST_EPOCH).flat_map(epoch_order)


def _join(*parts: tf.Tensor) -> tf.Tensor:
    return tf.concat(parts, axis=0)
