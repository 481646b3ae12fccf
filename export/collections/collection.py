"""Collections: the pictures that `--data` names, in order, as files that an exported model decodes."""

import concurrent.futures
import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.files.decoding import Decoding, Unusable, decodable, decoding_of, encode
from semppl.data.files.folder import Folder, folder_of, list_folder
from semppl.data.files.left_out import how_to_convert
from semppl.data.files.picture_list import PictureList
from semppl.data.images import NO_LABEL, ImageSet
from semppl.data.records.pictures import list_records
from semppl.data.sources import load_source
from semppl.data.splits import split_specs
from semppl.data.streaming import StreamedImageSet

_READERS = 8


@dataclasses.dataclass(frozen=True)
class Collection:
    """The pictures of one source.

    Attributes:
        paths: Name of each picture in its source; empty if it has none.
        truths: Name of each picture's true class; empty if unknown.
        read: Function from positions to picture files that TensorFlow decodes; empty bytes for an unreadable picture.
        place: Absolute path of the folder that the paths are relative to; empty if the pictures are not in a folder.
    """

    paths: tuple[str, ...]
    truths: tuple[str, ...]
    read: Callable[[Sequence[int]], list[bytes]]
    place: str = ""

    def __len__(self) -> int:
        return len(self.paths)


class Span(NamedTuple):
    """Consecutive pictures of one collection.

    Attributes:
        collection: Index of the collection.
        first: Position of the first picture in the collection.
        end: Position after the last picture.
        offset: Position of the collection's first picture among those of all collections.
    """

    collection: int
    first: int
    end: int
    offset: int


def plan_spans(collections: Sequence[Collection], size: int) -> list[Span]:
    """Cuts collections into spans of at most `size` pictures."""
    spans, offset = [], 0
    for index, collection in enumerate(collections):
        for first in range(0, len(collection), size):
            spans.append(Span(index, first, min(first + size, len(collection)), offset))
        offset += len(collection)
    return spans


def folders_of(hyperparameters: Hyperparameters) -> list[pathlib.Path]:
    """Returns the folders among the sources of `data`."""
    sources = [spec.partition(":") for spec in split_specs(hyperparameters.data)]
    return [folder_of(argument)[0] for key, _, argument in sources if key == "folder"]


def pictures_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the picture files in a folder, at any depth, sorted by path; says on stderr what is left out.

    Raises:
        ValueError: if there are none.
    """
    try:
        return [folder / path for path in _listed(str(folder)).paths]
    except ValueError as error:
        raise ValueError(
            f"The arguments must be pictures, or folders of pictures. Received: {folder}, without any"
        ) from error


def _listed(argument: str) -> Folder:
    """Lists a folder; says on stderr what is left out."""
    folder = list_folder(argument)
    for remark in (*folder.unreadable, *folder.remarks):
        print(f"{folder.root}: {remark}", file=sys.stderr, flush=True)
    return folder


def open_collections(hyperparameters: Hyperparameters) -> list[Collection]:
    """Opens what `data` names, one collection per source; unreadable pictures are part of a collection.

    Args:
        hyperparameters: Hyper-parameters of the model's run, with `data` and the settings that say how to read it.

    Raises:
        ValueError: if the data cannot be opened.
    """
    return [_open(spec, hyperparameters) for spec in split_specs(hyperparameters.data)]


def locate(collections: Sequence[Collection], position: int) -> tuple[Collection, int]:
    """Returns the collection and the position in it of a picture by its position, in range, among those of all collections."""
    firsts = np.cumsum([0, *map(len, collections)])
    which = int(np.searchsorted(firsts, position, side="right")) - 1
    return collections[which], position - int(firsts[which])


def pictures_of(collections: Sequence[Collection], positions: Sequence[int]) -> Iterator[bytes]:
    """Yields single pictures by their positions among those of all collections."""
    for position in positions:
        collection, inside = locate(collections, position)
        yield from collection.read([inside])


def read_picture(path: str | pathlib.Path, hyperparameters: Hyperparameters) -> bytes:
    """Reads a picture file in the way in which a collection is read.

    Raises:
        ValueError: if the file cannot be read or decoded.
    """
    try:
        return decode_query(pathlib.Path(path).read_bytes(), hyperparameters)
    except OSError as error:
        raise ValueError(f"--picture must be a file. Received: {path}: {error.strerror}") from error
    except Unusable as error:
        advice = how_to_convert(path)
        raise ValueError(f"--picture must be a picture. Received: {path}: {error}{advice and f'; {advice}'}") from error


def decode_query(content: bytes, hyperparameters: Hyperparameters) -> bytes:
    """Converts the content of a picture file to what the model decodes.

    Raises:
        Unusable: if it cannot be decoded.
    """
    return decodable(content, decoding_of(hyperparameters.reading))


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
            ) from None  # a user of Python needs no second traceback

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
        folder = _listed(argument)
        files = _files(folder, decoding_of(hyperparameters.reading))
        return dataclasses.replace(files, place=str(folder.root.absolute()))
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
    def read_one(position: int) -> bytes:
        try:
            return _decodable_or_empty(files.read(position), decoding)
        except OSError:
            return b""

    def read(positions: Sequence[int]) -> list[bytes]:
        with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(read_one, positions))

    return Collection(files.paths, tuple(row.label for row in files.rows), read)


def _reader(images: ImageSet | StreamedImageSet) -> Callable[[Sequence[int]], list[bytes]]:
    def read(positions: Sequence[int]) -> list[bytes]:
        if isinstance(images, StreamedImageSet):
            return images.encoded(tf.constant(positions, tf.int64))["image"].numpy().tolist()
        selected = images.images[np.asarray(positions)]
        if np.issubdtype(selected.dtype, np.integer):
            return [encode(image) for image in tf.image.convert_image_dtype(selected, tf.uint8).numpy()]
        return [encode(np.round(image * 255).astype(np.uint8)) for image in selected]

    return read
