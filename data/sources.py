"""Where images come from: a name gives training and test images as arrays."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np

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


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set: its splits, and what its classes are called."""

    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]


def load_source(spec: str, *, data_dir: str = "") -> Source:
    """Loads a data set by name.

    Args:
        spec: a key of SOURCES, or `KEY:ARGUMENT`, such as `tfds:cifar10`.
        data_dir: folder of prepared data, for sources that have one.

    Returns:
        The data, in memory, in the same order every time.

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
    image, label, text = (_feature(builder, kind) for kind in _FEATURE_KINDS)
    if not image or not label:
        raise ValueError(f"--data must be a classification set, with an image and a label. Received: tfds:{name}")
    read = functools.partial(_read_split, builder, image, label, text)
    held_out = next((split for split in ("test", "validation") if split in builder.info.splits), "")
    if "train" not in builder.info.splits or not held_out:
        raise ValueError(
            f"--data must have the splits train and test (or validation). Received: {name}: {builder.info.splits}"
        )
    return Source(read("train"), read(held_out), tuple(builder.info.features[label].names))


_FEATURE_KINDS = ("Image", "ClassLabel", "Text")


def _feature(builder: "tfds.core.DatasetBuilder", kind: str) -> str:  # type: ignore[name-defined]  # noqa: F821
    return next((key for key, feature in builder.info.features.items() if type(feature).__name__ == kind), "")


def _read_split(
    builder: "tfds.core.DatasetBuilder",  # type: ignore[name-defined]  # noqa: F821
    image: str,
    label: str,
    text: str,
    split: str,
) -> ImageSet:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    shape = builder.info.features[image].shape
    if None in shape:
        raise ValueError(f"--data must have images of one size. Received: {builder.name}, with images of shape {shape}")
    reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    dataset = builder.as_dataset(split=split, read_config=reading, shuffle_files=False)
    keys = [key for key in (image, label, text) if key]
    dataset = dataset.map(lambda row: {key: row[key] for key in keys}).batch(1024).prefetch(tf.data.AUTOTUNE)
    rows = list(dataset.as_numpy_iterator())
    column = {key: np.concatenate([row[key] for row in rows]) for key in keys}
    names = tuple(value.decode() for value in column[text]) if text else ()
    return ImageSet(column[image], column[label].astype(np.int32), names)


SOURCES: dict[str, Callable[[str, str], Source]] = {"digits": _digits, "tfds": _tfds}
