"""The pictures of a `--data` as files that an exported model decodes: in order, a few at a time, broken ones among them."""

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.files.decoding import Decoding, Unusable, decodable, encode
from semppl.data.files.folder import list_folder
from semppl.data.files.picture_list import PictureList
from semppl.data.images import NO_LABEL, ImageSet
from semppl.data.records.pictures import list_records
from semppl.data.sources import decoding_of, load_source
from semppl.data.splits import split_specs
from semppl.data.streaming import StreamedImageSet

_READERS = 8


@dataclasses.dataclass(frozen=True)
class Collection:
    """The pictures of one source; a picture's number is its position.

    Attributes:
        paths: what each is called, in its source; empty where it has no name.
        truths: the classes that the source tells, by name; empty where it tells none.
        read: gives pictures by their numbers, as files that TensorFlow decodes; empty where there is no such file.
    """

    paths: tuple[str, ...]
    truths: tuple[str, ...]
    read: Callable[[Sequence[int]], list[bytes]]

    def __len__(self) -> int:
        return len(self.paths)


def open_collections(hyperparameters: Hyperparameters) -> list[Collection]:
    """Opens what `data` names, a collection a source; nothing is decoded yet, and nothing left out.

    Args:
        hyperparameters: of the model's run, with `data` and how to read it.

    Raises:
        ValueError: if there is no such data.
    """
    return [_open(spec, hyperparameters) for spec in split_specs(hyperparameters.data)]


def pictures_of(collections: Sequence[Collection], ids: Sequence[int]) -> Iterator[bytes]:
    """Yields single pictures of collections that are numbered through."""
    firsts = np.cumsum([0, *map(len, collections)])
    for number in ids:
        which = int(np.searchsorted(firsts, number, side="right")) - 1
        yield from collections[which].read([number - int(firsts[which])])


def read_picture(path: str | pathlib.Path, hyperparameters: Hyperparameters) -> bytes:
    """Reads a picture file as those of a collection are read.

    Raises:
        ValueError: if it cannot be read, or nothing can decode it.
    """
    try:
        return decodable(pathlib.Path(path).read_bytes(), decoding_of(hyperparameters.reading))
    except OSError as error:
        raise ValueError(f"--picture must be a file. Received: {path}: {error.strerror}") from error
    except Unusable as error:
        raise ValueError(f"--picture must be a picture. Received: {path}: {error}") from error


def read_pictures(paths: Sequence[str | os.PathLike[str]], hyperparameters: Hyperparameters) -> list[bytes]:
    """Reads picture files as those of a collection are read, several at a time; empty where nothing can decode one.

    Raises:
        ValueError: if a file cannot be read.
    """
    decoding = decoding_of(hyperparameters.reading)

    def read(path: str | os.PathLike[str]) -> bytes:
        try:
            return _decodable_or_empty(pathlib.Path(path).read_bytes(), decoding)
        except OSError as error:
            raise ValueError(
                f"paths must be picture files that can be read. Received: {os.fspath(path)} ({error.strerror})"
            ) from error

    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, paths))


def _decodable_or_empty(data: bytes, decoding: Decoding) -> bytes:
    try:
        return decodable(data, decoding)
    except Unusable:
        return b""


def _open(spec: str, hyperparameters: Hyperparameters) -> Collection:
    key, _, argument = spec.partition(":")
    if key == "folder":
        folder = list_folder(argument)
        return _files(folder, decoding_of(hyperparameters.reading))
    if key == "tfrecord":
        image, label, name = (getattr(hyperparameters, f"{part}_feature") for part in ("image", "label", "name"))
        records = list_records(argument, image=image, label=label, name=name)
        return _files(records, decoding_of(hyperparameters.reading))
    source = load_source(spec, reading=hyperparameters.reading)
    names, images = source.class_names, source.train
    if images.channels != hyperparameters.channels:
        raise ValueError(
            f"--data must be images of {hyperparameters.channels} channels, as the model's. Received: {spec}, of {images.channels}"
        )
    return Collection(
        images.names or ("",) * len(images),
        tuple("" if label == NO_LABEL else names[label] for label in images.labels.tolist()),
        _reader(images),
    )


def _files(files: PictureList, decoding: Decoding) -> Collection:
    def read_one(number: int) -> bytes:
        try:
            return _decodable_or_empty(files.read(number), decoding)
        except OSError:
            return b""

    def read(numbers: Sequence[int]) -> list[bytes]:
        with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(read_one, numbers))

    return Collection(files.paths, tuple(row.label for row in files.rows), read)


def _reader(images: ImageSet | StreamedImageSet) -> Callable[[Sequence[int]], list[bytes]]:
    def read(numbers: Sequence[int]) -> list[bytes]:
        if isinstance(images, StreamedImageSet):
            return images.encoded(tf.constant(numbers, tf.int64))["image"].numpy().tolist()
        some = images.images[np.asarray(numbers)]
        if np.issubdtype(some.dtype, np.integer):
            return [encode(image) for image in tf.image.convert_image_dtype(some, tf.uint8).numpy()]
        return [encode(np.round(image * 255).astype(np.uint8)) for image in some]

    return read
