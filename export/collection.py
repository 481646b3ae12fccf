"""The pictures of a `--data`, as what an exported model takes: in order, a few at a time, broken ones among them."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.decoding import Decoding, Unusable, decodable
from semppl.data.folder import Folder, list_folder
from semppl.data.images import NO_LABEL, ImageSet
from semppl.data.recorded_pictures import list_records
from semppl.data.sources import load_source
from semppl.data.splits import decoding_of, split_specs
from semppl.data.streaming import StreamedImageSet

Inputs = dict[str, np.ndarray]
"""`{"bytes": [b] objects}`, files that the model decodes, or `{"images": [b, H, W, C] float32 in 0..1}`."""

_READERS = 8


@dataclasses.dataclass(frozen=True)
class Collection:
    """The pictures of one source; a picture's number is its position.

    Attributes:
        paths: what each is called, in its source; empty where it has no name.
        truths: the classes that the source tells, by name; empty where it tells none.
        read: gives pictures by their numbers `[b]`; a file that has gone, or that nothing can decode, is empty bytes.
        folder: where the paths start from, if these are files.
    """

    paths: tuple[str, ...]
    truths: tuple[str, ...]
    read: Callable[[Sequence[int]], Inputs]
    folder: str = ""

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


def _open(spec: str, hyperparameters: Hyperparameters) -> Collection:
    key, _, argument = spec.partition(":")
    if key == "folder":
        folder = list_folder(argument)
        return _files(folder, decoding_of(hyperparameters), str(folder.root))
    if key == "tfrecord":
        image, label, name = (getattr(hyperparameters, f"{part}_feature") for part in ("image", "label", "name"))
        records = list_records(argument, image=image, label=label, name=name)
        return _files(records, decoding_of(hyperparameters))
    source = load_source(spec, data_dir=hyperparameters.data_dir)
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


def _files(files: Folder, decoding: Decoding, folder: str = "") -> Collection:
    def read_one(number: int) -> bytes:
        try:
            return decodable(files.read(number), decoding)
        except (OSError, Unusable):
            return b""

    def read(numbers: Sequence[int]) -> Inputs:
        with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
            return {"bytes": np.array([*pool.map(read_one, numbers)], object)}

    return Collection(files.paths, tuple(row.label for row in files.rows), read, folder)


def _reader(images: ImageSet | StreamedImageSet) -> Callable[[Sequence[int]], Inputs]:
    def read(numbers: Sequence[int]) -> Inputs:
        if isinstance(images, StreamedImageSet):
            return {"bytes": images.encoded(tf.constant(numbers, tf.int64))["image"].numpy()}
        some = images.images[np.asarray(numbers)]
        return {"images": some.astype(np.float32) / (255 if some.dtype == np.uint8 else 1)}

    return read
