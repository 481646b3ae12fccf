"""Images of one split, in memory or on disk, and the splits of a data set."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from semppl.data.streaming import StreamedImageSet

NO_LABEL = -1
"""The label of an image without one."""


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images of one split, identified by position.

    Attributes:
        images: `[n, H, W, C]` uint8 or uint16, their whole range, or float32 in 0..1.
        labels: `[n]` int32, NO_LABEL where unknown.
        names: `[n]` strings by which a label list names images; empty if the source has none.
        masks: `[n, H, W]` uint8, 0 for background, or None.
        groups: `[n]` int64, equal for images that show the same thing; None if every image is its own group.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...] = ()
    masks: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.masks is not None and self.masks.shape != self.images.shape[:3]:
            expected, received = self.images.shape[:3], self.masks.shape
            raise ValueError(f"Masks must be of the images' size, {expected}. Received: {received}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """Number of channels, C."""
        return int(self.images.shape[-1])

    def batches(
        self, prepare: Callable[[tf.Tensor], tf.Tensor], *, batch_size: int, positions: np.ndarray | None = None
    ) -> Iterator[tf.Tensor]:
        """Yields prepared images in order, a batch at a time.

        Args:
            prepare: Maps `[B, H, W, C]` to `[B, h, w, C]`.
            batch_size: Maximum batch size.
            positions: Integers `[k]`, positions of the images to yield; None: all.
        """
        for first in range(0, len(self) if positions is None else len(positions), batch_size):
            rows = slice(first, first + batch_size)
            yield prepare(tf.constant(self.images[rows if positions is None else positions[rows]]))

    def select(self, positions: np.ndarray) -> "ImageSet":
        """Returns the images at `positions`, in that order."""
        return ImageSet(
            self.images[positions],
            self.labels[positions],
            tuple(self.names[i] for i in positions) if self.names else (),
            None if self.masks is None else self.masks[positions],
            None if self.groups is None else self.groups[positions],
        )


Images = ImageSet | StreamedImageSet
"""Images in memory or on disk, with labels, names and batches of prepared images."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set: its splits and class names.

    Attributes:
        train: Training images.
        test: Test images, or None.
        class_names: Names of the classes, by label.
        validation: Validation images, or None.
    """

    train: Images
    test: Images | None
    class_names: tuple[str, ...]
    validation: Images | None = None

    def held_out(self, split: str) -> Images:
        """Returns the images of a held-out split.

        Args:
            split: "test" or "validation".

        Raises:
            ValueError: If the source has no such split; the message names the flag that sets it.
        """
        images: Images | None = getattr(self, split)
        if images is None:
            raise ValueError(f"--{split} must give held-out images: a source, or a share in (0, 1). Received: none")
        return images
