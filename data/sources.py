"""Sources of images, by name: training and test images in memory or on disk."""

import dataclasses
import difflib
import functools
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.reading import ReadingSettings
from semppl.data.files import folder
from semppl.data.files.cache import inspected_and_cached
from semppl.data.files.decoding import decoding_of
from semppl.data.files.folder import list_folder
from semppl.data.files.inspection import inspect_pictures, require_few_bad
from semppl.data.files.picture_files import PictureFiles, open_pictures, read_encoded
from semppl.data.files.picture_list import PictureList
from semppl.data.images import NO_LABEL, ImageSet, Source
from semppl.data.records.catalogue import read_catalogue
from semppl.data.records.pictures import list_records, paths_of
from semppl.data.records.reader import read_records
from semppl.data.streaming import StreamedImageSet


@dataclasses.dataclass(frozen=True)
class Request:
    """A data set to load.

    Attributes:
        argument: Text after the source's key.
        flag: Name of the flag that asks for the data set, for errors.
        reading: Settings with which the data are read.
    """

    argument: str
    flag: str
    reading: ReadingSettings


def load_source(spec: str, *, flag: str = "data", reading: ReadingSettings | None = None) -> Source:
    """Loads a data set by name.

    Args:
        spec: Key of SOURCES, or `KEY:ARGUMENT`, such as `tfds:cifar10`.
        flag: Name of the flag that asks for the data set, for errors.
        reading: Settings with which the data are read; by default, the default settings for RGB pictures.

    Returns:
        The data, in the same order every time; in memory, unless the images are of many sizes.

    Raises:
        ValueError: If there is no such data set; the message lists the sources.
    """
    key, _, argument = spec.partition(":")
    if key not in SOURCES or (key == "digits" and argument):
        how = "tfds:NAME[:SPLIT], folder:PATH[?labels=FILE.csv], folder:PATH?labels=folders, tfrecord:GLOB"
        raise ValueError(f"--{flag} must be one of {', '.join(SOURCES)} ({how}). Received: {spec}{_meant(spec)}")
    return SOURCES[key](Request(argument, flag, reading or ReadingSettings(channels=3)))


def names_files(spec: str) -> bool:
    """Returns whether a source consists of picture files or TFRecord files that exist."""
    key, _, argument = spec.partition(":")
    if key == "folder":
        return folder.exists(argument)
    return key == "tfrecord" and bool(paths_of(argument))


def _meant(spec: str) -> str:
    """Returns the source that was probably meant by a text without a known key; empty if there is none."""
    if meant := folder.flags_meant(spec):
        return meant
    key, colon, argument = spec.partition(":")
    near = difflib.get_close_matches(key.lower(), SOURCES, n=1)
    path = spec.partition("?labels=")[0]
    if path and (pathlib.Path(path).expanduser().is_dir() or not (near or colon)):
        return f"; did you mean folder:{spec}?"
    return f"; did you mean {near[0]}{colon}{argument}?" if near and (near[0] != key) else ""


def _digits(request: Request) -> Source:
    """Loads 1,797 grey 8×8 scans of handwritten digits, 1,500 for training and 297 for testing (scikit-learn, UCI)."""
    from sklearn import datasets, model_selection

    del request
    images, labels = datasets.load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    parts = model_selection.train_test_split(
        images, labels.astype(np.int32), test_size=297, stratify=labels, random_state=0
    )
    train_images, test_images, train_labels, test_labels = parts
    names = tuple("0123456789")
    return Source(ImageSet(train_images, train_labels), ImageSet(test_images, test_labels), names)


def _folder(request: Request) -> Source:
    """Loads the pictures of a folder, with labels from a CSV file or from the sub-folders; all are training images."""
    return _examined(list_folder(request.argument, flag=request.flag), request)


def _tfrecord(request: Request) -> Source:
    """Loads the pictures in the user's own TFRecord files; all are training images."""
    reading = request.reading
    records = list_records(
        request.argument,
        image=reading.image_feature,
        label=reading.label_feature,
        name=reading.name_feature,
        mask=reading.mask_feature,
        flag=request.flag,
    )
    return _examined(records, request)


def _examined(pictures: PictureList, request: Request) -> Source:
    """Inspects pictures, caches them if `cache_dir` is set, and returns the usable ones as training images."""
    reading, decoding = request.reading, decoding_of(request.reading)
    if decoding.channels not in (1, 3):
        raise ValueError(f"--channels must be 1 or 3 to decode picture files. Received: {decoding.channels}")
    check = functools.partial(require_few_bad, pictures, limit=reading.max_bad_fraction, flag=request.flag)
    if reading.cache_dir:
        files, encoded = inspected_and_cached(pictures, decoding, reading.cache_dir, check=check)
    else:
        files = PictureFiles(pictures, inspect_pictures(pictures, decoding), decoding)
        check(files.inspection)
        encoded = read_encoded(files)
    images, class_names = open_pictures(files, encoded)
    return Source(images, None, class_names)


def _tfds(request: Request) -> Source:
    """Loads a classification data set that tensorflow-datasets has prepared in `data_dir`."""
    import tensorflow_datasets as tfds

    name, split = _name_and_split(request.argument)
    flag, data_dir, received = request.flag, request.reading.data_dir, f"tfds:{request.argument}"
    # A set that is not prepared is not looked for in the cloud: that takes minutes where there is no network.
    tfds.core.utils.gcs_utils._is_gcs_disabled = True
    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError, ImportError) as error:
        allowed = f"tfds:NAME with a NAME that tensorflow-datasets {tfds.__version__} knows"
        meant = folder.flags_meant(received)
        raise ValueError(f"--{flag} must be {allowed}. Received: {received}{meant}") from error
    if not pathlib.Path(builder.data_path).is_dir():
        how = f'python -c "import tensorflow_datasets as t; t.load({name!r}, data_dir=…)"'
        raise ValueError(f"--data_dir must hold {name}, prepared with {how}. Received: {data_dir or 'the default'}")
    if builder.info.file_format.value != "tfrecord":
        kind = builder.info.file_format.value
        raise ValueError(f"--{flag} must be prepared as TFRecords. Received: {received}, prepared as {kind}")
    mask = request.reading.mask_feature
    image, label, text = _feature(builder, "Image", mask), _feature(builder, "ClassLabel"), _feature(builder, "Text")
    if not image or not label:
        raise ValueError(f"--{flag} must be a classification set, with an image and a label. Received: {received}")
    if mask:
        _check_mask(builder, image, mask, received)
    pictures = [builder.info.features[feature] for feature in (image, mask) if feature]
    one_size = all(None not in feature.shape for feature in pictures)
    read = functools.partial(_read_split if one_size else _stream_split, builder, image, label, text)
    class_names = tuple(builder.info.features[label].names)
    splits = sorted(builder.info.splits)
    if split:
        if split not in splits:
            raise ValueError(f"--{flag} must name one of the splits {', '.join(splits)}. Received: {received}")
        return Source(read(split, mask), None, class_names)
    held_out = next((split for split in ("test", "validation") if _is_labelled(builder, split, label)), "")
    if "train" not in builder.info.splits or not held_out:
        raise ValueError(
            f"--{flag} must have the splits train and test (or validation). Received: {name}: {builder.info.splits}"
        )
    return Source(read("train", mask), read(held_out), class_names)


def _check_mask(builder: Any, image: str, mask: str, received: str) -> None:
    """Checks that a feature can be the mask of the image feature."""
    features = builder.info.features
    able = [key for key, feature in features.items() if key != image and type(feature).__name__ in _MASK_KINDS]
    if mask not in able:
        raise ValueError(
            f"--mask_feature must be a picture of {received} beside {image}: {', '.join(able) or 'there is none'}. "
            f"Received: {mask}"
        )
    expected, shape = features[image].shape[:2], features[mask].shape[:2]
    if None not in (*expected, *shape) and expected != shape:
        raise ValueError(f"--mask_feature must be of the images' size, {expected}. Received: {mask}, of size {shape}")


def _name_and_split(argument: str) -> tuple[str, str]:
    """Splits `NAME[:VERSION][:SPLIT]` into name, with the version, and split; only a version consists of digits and dots."""
    name, _, last = argument.rpartition(":")
    return (name, last) if name and not re.fullmatch(r"[\d.*]+", last) else (argument, "")


_MASK_KINDS = ("Image", "LabeledImage")


def _feature(builder: Any, kind: str, other_than: str = "") -> str:
    features = builder.info.features.items()
    return next((key for key, feature in features if type(feature).__name__ == kind and key != other_than), "")


def _is_labelled(builder: Any, split: str, label: str) -> bool:
    """Returns whether the first image of a split has a label: the test images of ImageNet, for one, have none."""
    if split not in builder.info.splits:
        return False
    first = builder.as_dataset(split=f"{split}[:1]", shuffle_files=False).map(lambda row: row[label])
    return next(first.as_numpy_iterator()) != NO_LABEL


def _read_split(builder: Any, image: str, label: str, text: str, split: str, mask: str = "") -> ImageSet:
    import tensorflow_datasets as tfds

    reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    dataset = builder.as_dataset(split=split, read_config=reading, shuffle_files=False)
    keys = [key for key in (image, label, text, mask) if key]
    dataset = dataset.map(lambda row: {key: row[key] for key in keys}).batch(1024).prefetch(tf.data.AUTOTUNE)
    rows = list(dataset.as_numpy_iterator())
    column = {key: np.concatenate([row[key] for row in rows]) for key in keys}
    names = tuple(value.decode() for value in column[text]) if text else ()
    masks = column[mask].any(-1).astype(np.uint8) if mask else None
    return ImageSet(column[image], column[label].astype(np.int32), names, masks)


def _stream_split(builder: Any, image: str, label: str, text: str, split: str, mask: str = "") -> StreamedImageSet:
    """Opens a split whose pictures are read from their TFRecord files when needed."""
    paths = [str(path) for path in builder.info.splits[split].filepaths]
    catalogue = read_catalogue(paths, label=label, name=text, masked=(image, mask) if mask else ())
    names = tuple(name.decode() for name in catalogue.names.tolist())
    encoded = read_records(catalogue.records, image, mask)
    return StreamedImageSet(encoded, builder.info.features[image].shape[-1], catalogue.labels.astype(np.int32), names)


SOURCES: dict[str, Callable[[Request], Source]] = {
    "digits": _digits,
    "tfds": _tfds,
    "folder": _folder,
    "tfrecord": _tfrecord,
}
