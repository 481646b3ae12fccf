"""Cache of decoded and downscaled pictures in TFRecord files, because decoding photographs can take longer than training."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from semppl.configs.wording import counted
from semppl.data.files.decoding import Decoding, encode, shrink, shrink_mask
from semppl.data.files.inspection import Inspection, inspect_pictures, place_of
from semppl.data.files.lost_pictures import PictureLost
from semppl.data.files.picture_files import PictureFiles
from semppl.data.files.picture_list import PictureList
from semppl.data.records.index import index_records
from semppl.data.records.reader import read_records
from semppl.data.streaming import Encoded, decode_picture
from semppl.runs.files import disk_errors_as, folder_written_aside, locked, settle

_VERSION = 1  # version of the cache's format
_PICTURES_A_FILE = 1000
_REPORT_EVERY = 5000


class NotCached(OSError):
    """A cache that cannot be written, or is damaged."""


class Spool:
    """Pictures that the inspection has decoded, written to disk so that the cache need not decode them again.

    Args:
        folder: Folder for the files, created with the first picture.
        decoding: Decoding of the pictures.
    """

    def __init__(self, folder: pathlib.Path, decoding: Decoding) -> None:
        self.folder = folder
        self._decoding = decoding
        self._count = 0
        self._writer: tf.io.TFRecordWriter | None = None

    def prepare(self, path: str, pixels: np.ndarray, mask: np.ndarray | None) -> bytes:
        """Shrinks and encodes a picture; see `inspection.Sink`."""
        side = self._decoding.shrink
        return _example(path, shrink(pixels, side), b"" if mask is None else encode(shrink_mask(mask, side)))

    def add(self, prepared: bytes) -> None:
        """Writes a prepared picture; see `inspection.Sink`."""
        if self._count % _PICTURES_A_FILE == 0:
            self.close()
            self.folder.mkdir(exist_ok=True)
            self._writer = tf.io.TFRecordWriter(str(self.folder / f"{self._count // _PICTURES_A_FILE:06}.tfrecord"))
        if self._writer is not None:
            self._writer.write(prepared)
        self._count += 1

    def close(self) -> None:
        """Closes the file that is being written."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def become(self, folder: pathlib.Path, count: int) -> bool:
        """Renames the written files to the cache `folder` if they hold exactly `count` pictures; returns whether they do."""
        self.close()
        if not count or self._count != count:
            return False
        _write_settings(self.folder, self._decoding)
        settle(self.folder, folder)
        return True


def inspected_and_cached(
    pictures: PictureList, decoding: Decoding, cache_dir: str, *, check: Callable[[Inspection], None]
) -> tuple[PictureFiles, Encoded]:
    """Inspects and caches pictures, decoding each once.

    Args:
        pictures: Picture files to decode.
        decoding: Decoding of the pictures.
        cache_dir: Folder of caches.
        check: Function that raises if too many pictures are unusable; nothing is cached then.

    Returns:
        The usable pictures, and the function that reads them from the cache; see `cached_encoded`.

    Raises:
        NotCached: If the cache cannot be written; the message names the flag.
    """
    place = place_of(pictures, decoding, cache_dir)
    aside = place.with_name(f".{place.stem}-spool")
    spool = Spool(aside, decoding)
    with _written(place.parent), locked(place.with_suffix(".lock"), wait=True), _removed(aside):
        inspection = inspect_pictures(pictures, decoding, cache_dir=cache_dir, sink=spool)
        spool.close()
        check(inspection)
        files = PictureFiles(pictures, inspection, decoding)
        return files, cached_encoded(files, cache_dir, spool)


def cached_encoded(files: PictureFiles, cache_dir: str, spool: Spool | None = None) -> Encoded:
    """Returns a function that reads the usable pictures from a cache, like `picture_files.read_encoded`; fills the cache if needed.

    The cache is a folder named after a digest of the pictures' contents and their decoding: other pictures or settings have a
    cache of their own. The folder is renamed when it is complete; other runs that need the same cache wait.

    Args:
        files: Usable pictures.
        cache_dir: Folder of caches.
        spool: Pictures that are decoded already; if the spool is complete, it becomes the cache.

    Raises:
        NotCached: If the cache cannot be written, or is damaged; the message names the flag.
    """
    folder = pathlib.Path(cache_dir) / f"pictures-{_key(files)}"
    if not folder.is_dir():
        with _written(pathlib.Path(cache_dir)), locked(folder.with_suffix(".lock"), wait=True):
            if not folder.is_dir() and not (spool and spool.become(folder, len(files.positions))):
                _fill(folder, files)
    paths = sorted(str(path) for path in folder.glob("*.tfrecord"))
    try:
        records = index_records(paths)
    except ValueError as error:
        raise NotCached(
            f"--cache_dir must hold whole files. Received: {folder}, which is damaged; remove the folder ({error})"
        ) from error
    return read_records(records, "image", "mask" if files.have_masks else "")


def _key(files: PictureFiles) -> str:
    digest = hashlib.blake2b(f"{_VERSION} {files.decoding}".encode(), digest_size=12)
    for position in files.positions:
        digest.update(files.inspection.digests[position].tobytes())
        digest.update(b"\1" if files.pictures.rows[position].mask else b"\0")
    return digest.hexdigest()


def _fill(folder: pathlib.Path, files: PictureFiles) -> None:
    """Decodes the pictures in parallel, and writes them in order."""
    positions = files.positions.tolist()
    print(f"caching {counted(len(positions), 'picture')} in {folder}, once", file=sys.stderr, flush=True)
    for left in folder.parent.glob(f".{folder.name}-*"):  # left by a killed run; the lock excludes other writers
        shutil.rmtree(left, ignore_errors=True)
    with folder_written_aside(folder) as aside, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(positions), _PICTURES_A_FILE):
            chunk = positions[first : first + _PICTURES_A_FILE]
            with tf.io.TFRecordWriter(str(aside / f"{first // _PICTURES_A_FILE:06}.tfrecord")) as writer:
                for example in pool.map(lambda position: _decoded_example(files, position), chunk):
                    writer.write(example)
            if first and first % _REPORT_EVERY == 0:
                print(f"{first} of {len(positions)}", file=sys.stderr, flush=True)
        _write_settings(aside, files.decoding)


def _write_settings(folder: pathlib.Path, decoding: Decoding) -> None:
    (folder / "settings.json").write_text(json.dumps(dataclasses.asdict(decoding), indent=2) + "\n", encoding="utf-8")


def _decoded_example(files: PictureFiles, position: int) -> bytes:
    picture = files.read(position)
    pixels = decode_picture(tf.constant(picture["image"]), files.decoding.channels).numpy()
    return _example(files.pictures.paths[position], pixels, picture["mask"])


def _example(path: str, pixels: np.ndarray, mask: bytes) -> bytes:
    """Serialises a picture, as a PNG file, with its mask and its path."""
    values = {"image": encode(pixels), "mask": mask, "path": os.fsencode(path)}
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for name, v in values.items()}
    example: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return example


@contextlib.contextmanager
def _removed(aside: pathlib.Path) -> Iterator[None]:
    """Removes the folder `aside`, which a killed run may have left, on entry and on exit."""
    shutil.rmtree(aside, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _written(cache_dir: pathlib.Path) -> Iterator[None]:
    """Turns disk errors into one-line errors.

    Raises:
        NotCached: If the disk cannot be written; the message names the flag, the folder and the remedy.
    """
    translated = disk_errors_as(
        lambda reason: NotCached(
            f"--cache_dir must be a folder that can be written, with room for the pictures. Received: {cache_dir} "
            f"({reason}); make room, choose another, or do without"
        ),
        but=(PictureLost, NotCached),
    )
    with translated:
        cache_dir.mkdir(parents=True, exist_ok=True)
        yield
