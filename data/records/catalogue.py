"""Catalogue of TFRecord files: position, label and name of every record, read once and cached."""

import dataclasses
import hashlib
import os
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from semppl.configs.wording import counted
from semppl.data.files import array_cache
from semppl.data.files.decoding import size_of
from semppl.data.records.index import RecordFiles, check_files, index_records
from semppl.data.records.reader import read_records

_FILES_AT_A_TIME = 8
_SIZES_AT_A_TIME = 256
_EVERYTHING = 2**40
_VERSION = "2"  # version of the cached catalogue; the first had labels of 32 bits


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """Positions, labels and names of the records of a data set.

    Attributes:
        records: Index of the records in their files.
        labels: `[n]` int64, labels of the records.
        names: `[n]` UTF-8 bytes, names of the records; of length 0 if no feature holds the name.
    """

    records: RecordFiles
    labels: np.ndarray
    names: np.ndarray


def read_catalogue(
    paths: Sequence[str], *, label: str, name: str = "", unlabelled: int | None = None, masked: Sequence[str] = ()
) -> Catalogue:
    """Reads the catalogue of TFRecord files of `tf.train.Example`s.

    The first call reads every byte, and thus finds every damaged record. The result is cached beside the files, or in the
    user's cache folder if their folder cannot be written, for as long as the files keep their names, sizes and modification times.

    Args:
        paths: Paths of the files, on a disk of this machine.
        label: Name of the integer feature that holds the label.
        name: Name of the string feature that holds the name; empty: records have no names.
        unlabelled: Label of records without the feature; None: every record must have the feature.
        masked: Names of the features of picture and mask, whose sizes are compared; empty: there are no masks.

    Raises:
        ValueError: If a file is damaged, or a mask is missing or of another size; the message names the file and the remedy.
    """
    check_files(paths)
    digest = hashlib.blake2b(
        "\n".join(
            [_VERSION, label, name, *([] if unlabelled is None else [str(unlabelled)]), *masked, *map(_state, paths)]
        ).encode(),
        digest_size=8,
    ).hexdigest()
    places = [
        pathlib.Path(paths[0]).absolute().parent / f".semppl-{digest}.npz",
        array_cache.user_folder() / f"{digest}.npz",
    ]
    for place in places:
        cached = _load(place, paths)
        if cached is not None:
            return cached
    records = index_records(paths)
    catalogue = Catalogue(records, *_read_columns(paths, len(records), label, name, unlabelled))
    if masked:
        _compare_sizes(catalogue, *masked)
    saved = next((place for place in places if _save(place, catalogue)), None)
    _say(f"labels are cached in {saved}" if saved else "labels are not cached: no folder can be written")
    return catalogue


def _read_columns(
    paths: Sequence[str], count: int, label: str, name: str, unlabelled: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads labels `[n]` int64 and names `[n]` bytes, from several files at a time."""
    features = {label: tf.io.FixedLenFeature([], tf.int64, unlabelled)}
    if name:
        features[name] = tf.io.FixedLenFeature([], tf.string, "")

    def columns(path: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.data.TFRecordDataset(path, buffer_size=2**23).batch(256)
        rows = rows.map(lambda batch: tf.io.parse_example(batch, features)).unbatch()
        return rows.batch(_EVERYTHING).get_single_element()

    _say(f"reading the labels of {counted(count, 'record')} in {counted(len(paths), 'file')}, once")
    files = tf.data.Dataset.from_tensor_slices(list(paths))
    parts = []
    try:
        for part in files.map(columns, num_parallel_calls=_FILES_AT_A_TIME, deterministic=True).as_numpy_iterator():
            parts.append(part)
            if len(parts) % 64 == 0:
                _say(f"{len(parts)} of {counted(len(paths), 'file')}")
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        reason = error.message.partition(" [[")[0].rpartition("}} ")[2].strip().rstrip(".")
        raise ValueError(
            f"{paths[len(parts)]} must hold whole records with the feature {label!r}. Received: {reason}; "
            "copy or prepare the file again"
        ) from error
    labels = np.concatenate([part[label] for part in parts])
    names = np.concatenate([part[name] for part in parts]).astype(bytes) if name else np.zeros(0, "S1")
    return labels, names


def _compare_sizes(catalogue: Catalogue, image: str, mask: str) -> None:
    """Checks that every mask has the size of its picture."""
    _say(f"comparing the sizes of {len(catalogue.records)} masks and pictures, once")
    read = read_records(catalogue.records, image, mask, may_lack="mask")
    for first in range(0, len(catalogue.records), _SIZES_AT_A_TIME):
        positions = np.arange(first, min(first + _SIZES_AT_A_TIME, len(catalogue.records)))
        files = read(tf.constant(positions))
        for i, picture, its_mask in zip(positions, files["image"].numpy(), files["mask"].numpy(), strict=True):
            expected, received = size_of(picture), size_of(its_mask)
            if expected != received:
                which = catalogue.names[i].decode() if len(catalogue.names) else f"record {i}"
                raise ValueError(
                    f"--mask_feature must be masks as large as their pictures. Received: {mask}, {received or 'no picture'} "
                    f"for {which}, {expected or 'no picture'}"
                )


def _state(path: str) -> str:
    status = os.stat(path)
    return f"{os.path.basename(path)} {status.st_size} {status.st_mtime_ns}"


def _load(place: pathlib.Path, paths: Sequence[str]) -> Catalogue | None:
    """Returns the cached catalogue; None if the file is missing or damaged."""
    columns = array_cache.load(place, ("lengths", "counts", "labels", "names"))
    if columns is None:
        return None
    lengths = np.split(columns["lengths"], np.cumsum(columns["counts"])[:-1])
    return Catalogue(RecordFiles.of_lengths(paths, lengths), columns["labels"], columns["names"])


def _save(place: pathlib.Path, catalogue: Catalogue) -> bool:
    """Writes the catalogue; returns whether the file could be written."""
    records = catalogue.records
    counts = np.bincount(records.files, minlength=len(records.paths))
    columns = {"lengths": records.lengths, "counts": counts, "labels": catalogue.labels, "names": catalogue.names}
    return array_cache.save(place, columns)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
