"""Where images come from: a name gives training and test images, as arrays, or as pictures to be read from disk."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.data.catalogue import read_catalogue
from semppl.data.streaming import StreamedImageSet

NO_LABEL = -1
"""The label of an image without one."""


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images of one split; an image's id is its position.

    Attributes:
        images: `[n, H, W, C]` uint8, or float32 in 0..1.
        labels: `[n]` int32, NO_LABEL where unknown.
        names: `[n]` strings to find images by in a label list; empty where the source has none.
        masks: `[n, H, W]` uint8, 0 for background, or None.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...] = ()
    masks: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.masks is not None and self.masks.shape != self.images.shape[:3]:
            expected, received = self.images.shape[:3], self.masks.shape
            raise ValueError(f"Masks must be of the images' size, {expected}. Received: {received}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """C."""
        return int(self.images.shape[-1])

    def batches(
        self, prepare: Callable[[tf.Tensor], tf.Tensor], *, batch_size: int, ids: np.ndarray | None = None
    ) -> Iterator[tf.Tensor]:
        """Yields prepared images in order, a batch at a time.

        Args:
            prepare: maps `[B, H, W, C]` to `[B, h, w, C]`.
            batch_size: images at a time.
            ids: `[k]` of those wanted; None means all.
        """
        for first in range(0, len(self) if ids is None else len(ids), batch_size):
            some = slice(first, first + batch_size)
            yield prepare(tf.constant(self.images[some if ids is None else ids[some]]))


Images = ImageSet | StreamedImageSet
"""Images in memory or on disk: both know their labels, names and channels, and give prepared batches."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set: its splits, and what its classes are called."""

    train: Images
    test: Images
    class_names: tuple[str, ...]


def load_source(spec: str, *, data_dir: str = "") -> Source:
    """Loads a data set by name.

    Args:
        spec: a key of SOURCES, or `KEY:ARGUMENT`, such as `tfds:cifar10`.
        data_dir: folder of prepared data, for sources that have one.

    Returns:
        The data, in the same order every time; in memory, unless its images are of many sizes.

    Raises:
        ValueError: if there is no such data set, saying what there is.
    """
    key, _, argument = spec.partition(":")
    if key not in SOURCES or (key == "digits" and argument):
        raise ValueError(f"--data must be one of {', '.join(SOURCES)} (tfds:NAME). Received: {spec}")
    return SOURCES[key](argument, data_dir)


def _digits(_argument: str, _data_dir: str) -> Source:
    """Loads 1,797 scans of handwritten digits, 8×8 grey: 1,500 to train on, 297 to test (scikit-learn, UCI)."""
    from sklearn import datasets, model_selection

    images, labels = datasets.load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    parts = model_selection.train_test_split(
        images, labels.astype(np.int32), test_size=297, stratify=labels, random_state=0
    )
    train_images, test_images, train_labels, test_labels = parts
    names = tuple("0123456789")
    return Source(ImageSet(train_images, train_labels), ImageSet(test_images, test_labels), names)


def _tfds(name: str, data_dir: str) -> Source:
    """Loads a classification set that tensorflow-datasets has prepared in `data_dir`."""
    import tensorflow_datasets as tfds

    # A set that is not prepared is not looked for in the cloud: that takes minutes where there is no network.
    tfds.core.utils.gcs_utils._is_gcs_disabled = True
    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError, ImportError) as error:
        known = f"tfds:NAME with a NAME that tensorflow-datasets {tfds.__version__} knows"
        raise ValueError(f"--data must be {known}. Received: tfds:{name}") from error
    if not pathlib.Path(builder.data_path).is_dir():
        how = f'python -c "import tensorflow_datasets as t; t.load({name!r}, data_dir=…)"'
        raise ValueError(f"--data_dir must hold {name}, prepared with {how}. Received: {data_dir or 'the default'}")
    if builder.info.file_format.value != "tfrecord":
        kind = builder.info.file_format.value
        raise ValueError(f"--data must be prepared as TFRecords. Received: tfds:{name}, prepared as {kind}")
    image, label, text = (_feature(builder, kind) for kind in _FEATURE_KINDS)
    if not image or not label:
        raise ValueError(f"--data must be a classification set, with an image and a label. Received: tfds:{name}")
    one_size = None not in builder.info.features[image].shape
    read = functools.partial(_read_split if one_size else _stream_split, builder, image, label, text)
    held_out = next((split for split in ("test", "validation") if _is_labelled(builder, split, label)), "")
    if "train" not in builder.info.splits or not held_out:
        raise ValueError(
            f"--data must have the splits train and test (or validation). Received: {name}: {builder.info.splits}"
        )
    return Source(read("train"), read(held_out), tuple(builder.info.features[label].names))


_FEATURE_KINDS = ("Image", "ClassLabel", "Text")


def _feature(builder: Any, kind: str) -> str:
    return next((key for key, feature in builder.info.features.items() if type(feature).__name__ == kind), "")


def _is_labelled(builder: Any, split: str, label: str) -> bool:
    """Looks at the first image of a split: some test images, ImageNet's too, come without their labels."""
    if split not in builder.info.splits:
        return False
    first = builder.as_dataset(split=f"{split}[:1]", shuffle_files=False).map(lambda row: row[label])
    return next(first.as_numpy_iterator()) != NO_LABEL


def _read_split(builder: Any, image: str, label: str, text: str, split: str) -> ImageSet:
    import tensorflow_datasets as tfds

    reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    dataset = builder.as_dataset(split=split, read_config=reading, shuffle_files=False)
    keys = [key for key in (image, label, text) if key]
    dataset = dataset.map(lambda row: {key: row[key] for key in keys}).batch(1024).prefetch(tf.data.AUTOTUNE)
    rows = list(dataset.as_numpy_iterator())
    column = {key: np.concatenate([row[key] for row in rows]) for key in keys}
    names = tuple(value.decode() for value in column[text]) if text else ()
    return ImageSet(column[image], column[label].astype(np.int32), names)


def _stream_split(builder: Any, image: str, label: str, text: str, split: str) -> StreamedImageSet:
    """Leaves the pictures of a split in their TFRecord files."""
    catalogue = read_catalogue([str(path) for path in builder.info.splits[split].filepaths], label=label, name=text)

    def encoded(ids: tf.Tensor) -> dict[str, tf.Tensor]:
        # Not stateful: else tf.data would call it from one thread only.
        read = tf.numpy_function(
            lambda ids: np.array(catalogue.records.read(ids), object), [ids], tf.string, stateful=False
        )
        rows = tf.ensure_shape(read, ids.shape)
        return {"image": tf.io.parse_example(rows, {image: tf.io.FixedLenFeature([], tf.string)})[image]}

    names = tuple(name.decode() for name in catalogue.names.tolist())
    return StreamedImageSet(encoded, builder.info.features[image].shape[-1], catalogue.labels, names)


SOURCES: dict[str, Callable[[str, str], Source]] = {"digits": _digits, "tfds": _tfds}
