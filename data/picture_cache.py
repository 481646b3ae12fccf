"""Decoded and shrunk pictures, kept as TFRecords: decoding photographs takes longer than training a small encoder on them."""

import concurrent.futures
import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from semppl.data.decoding import encode
from semppl.data.picture_files import PictureFiles
from semppl.data.record_pictures import read_records
from semppl.data.records import index_records
from semppl.data.streaming import Encoded, decode_picture

_VERSION = 1  # of what is kept
_PICTURES_A_FILE = 1000
_REPORT_EVERY = 5000


def cached_encoded(files: PictureFiles, cache_dir: str) -> Encoded:
    """Returns what reads the usable pictures, as `picture_files.read_encoded`, from a cache that is filled if need be.

    The cache is a folder named after the pictures' contents and how they are decoded: other pictures, or other settings, make
    another one. It is written aside and renamed, while other runs that want the same wait.

    Args:
        files: which pictures.
        cache_dir: folder of caches.

    Raises:
        OSError: if it cannot be written, naming the flag.
    """
    folder = pathlib.Path(cache_dir) / f"pictures-{_key(files)}"
    if not folder.is_dir():
        with _written(pathlib.Path(cache_dir)), _locked(folder):
            if not folder.is_dir():
                _fill(folder, files)
    paths = sorted(str(path) for path in folder.glob("*.tfrecord"))
    return read_records(index_records(paths), "image", "mask" if files.have_masks else "")


def _key(files: PictureFiles) -> str:
    digest = hashlib.blake2b(f"{_VERSION} {files.decoding}".encode(), digest_size=12)
    for position in files.positions:
        digest.update(files.inspection.digests[position].tobytes())
        digest.update(b"\1" if files.folder.rows[position].mask else b"\0")
    return digest.hexdigest()


def _fill(folder: pathlib.Path, files: PictureFiles) -> None:
    """Decodes every picture once, in parallel, and writes them in order."""
    positions = files.positions.tolist()
    print(f"caching {len(positions)} pictures in {folder}, once", file=sys.stderr, flush=True)
    for left in folder.parent.glob(f".{folder.name}-*"):  # of a run that was killed; the lock says that none writes now
        shutil.rmtree(left, ignore_errors=True)
    aside = pathlib.Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for first in range(0, len(positions), _PICTURES_A_FILE):
                some = positions[first : first + _PICTURES_A_FILE]
                with tf.io.TFRecordWriter(str(aside / f"{first // _PICTURES_A_FILE:06}.tfrecord")) as writer:
                    for example in pool.map(lambda position: _example(files, position), some):
                        writer.write(example)
                if first and first % _REPORT_EVERY == 0:
                    print(f"{first} of {len(positions)}", file=sys.stderr, flush=True)
        (aside / "settings.json").write_text(json.dumps(dataclasses.asdict(files.decoding), indent=2) + "\n")
        aside.chmod(0o755)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _example(files: PictureFiles, position: int) -> bytes:
    """A picture as a PNG file, whatever it was, with its mask and its path."""
    pixels = decode_picture(tf.constant(files.image(position)), files.decoding.channels).numpy()
    values = {"image": encode(pixels), "mask": files.mask(position), "path": os.fsencode(files.folder.paths[position])}
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for name, v in values.items()}
    example: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return example


@contextlib.contextmanager
def _written(cache_dir: pathlib.Path) -> Iterator[None]:
    """Puts what goes wrong with the disk into one line.

    Raises:
        OSError: naming the flag, the folder and what to do.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = str(error.strerror if isinstance(error, OSError) else error.message).splitlines()[0]
        raise OSError(
            f"--cache_dir must be a folder that can be written, with room for the pictures. Received: {cache_dir} "
            f"({reason.rpartition('; ')[2]}); make room, choose another, or do without"
        ) from error


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Holds a lock that ends with the process, however it ends."""
    with folder.with_suffix(".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):  # a file system without locks
                raise
        yield
