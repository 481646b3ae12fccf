"""Pictures in the user's own TFRecord files, inspected and decoded like the pictures of a folder."""

import dataclasses
import glob
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from semppl.data.files.label_file import Row
from semppl.data.images import NO_LABEL
from semppl.data.records.catalogue import read_catalogue
from semppl.data.records.index import RecordFiles, index_records

_LOOKED_AT = 100  # records whose features are listed in an error


@dataclasses.dataclass(frozen=True)
class RecordedPictures:
    """The pictures in TFRecord files, a `PictureList`.

    Attributes:
        place: Pattern of the files' paths.
        paths: Name of each picture.
        rows: Label and mask of each picture.
        records: Positions of the records in the files.
        feature: Feature of the `tf.train.Example`s that holds the picture file.
        mask_feature: Feature that holds the mask; empty if there is none.
    """

    place: str
    paths: tuple[str, ...]
    rows: tuple[Row, ...]
    records: RecordFiles
    feature: str
    mask_feature: str = ""

    @property
    def rows_without_file(self) -> tuple[str, ...]:
        """Empty: every record holds its own picture and label."""
        return ()

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Empty: `list_records` raises an error for files that cannot be read."""
        return ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Empty: every record is read."""
        return ()

    def read(self, number: int) -> bytes:
        """Returns the bytes of a picture file; empty if the record has none."""
        return self._value(number, self.feature)

    def mask(self, number: int) -> bytes:
        """Returns the bytes of a picture's mask; empty if there is none."""
        return self._value(number, self.mask_feature) if self.mask_feature else b""

    def _value(self, number: int, feature: str) -> bytes:
        (record,) = self.records.read(np.array([number]))
        values = tf.train.Example.FromString(record).features.feature[feature].bytes_list.value
        return bytes(values[0]) if values else b""

    def state(self) -> str:
        """Returns the features and the files' names, sizes and modification times as one string."""
        files = (f"{path} {os.stat(path).st_size} {os.stat(path).st_mtime_ns}" for path in self.records.paths)
        return "\n".join((self.feature, self.mask_feature, *files))


def paths_of(pattern: str) -> list[str]:
    """Returns the sorted paths of the files that a pattern names; an existing file is taken as it stands."""
    path = os.path.expanduser(pattern)
    return [path] if os.path.isfile(path) else sorted(glob.glob(path, recursive=True))


def list_records(
    pattern: str, *, image: str, label: str, name: str, mask: str = "", flag: str = "data"
) -> RecordedPictures:
    """Lists the pictures of TFRecord files of `tf.train.Example`s, in the order of the files' names.

    Args:
        pattern: Pattern of the files' paths, with `*`, `?` and `[…]`.
        image: Name of the feature that holds the picture file.
        label: Name of the integer feature that holds the class; records without it or with a negative value are unlabelled.
        name: Name of the string feature that holds the picture's name; empty: pictures are named by file and position.
        mask: Name of the feature that holds the mask, which every record must have; empty: there are no masks.
        flag: Name of the flag, for errors.

    Raises:
        ValueError: If no file matches, or a file is damaged.
    """
    paths = paths_of(pattern)
    if not paths:
        raise ValueError(f"--{flag} must match a TFRecord file after tfrecord:. Received: {pattern or 'nothing'}")
    _require_features(paths, {"image_feature": image, "name_feature": name, "mask_feature": mask}, label)
    catalogue = read_catalogue(paths, label=label, name=name, unlabelled=NO_LABEL)
    labels = [str(number) if number > NO_LABEL else "" for number in catalogue.labels.tolist()]
    if name:
        names = [text.decode("utf-8", "surrogateescape") for text in catalogue.names.tolist()]
    else:
        files = catalogue.records.files
        firsts = np.searchsorted(files, files, side="left")
        names = [
            f"{os.path.basename(paths[file])}#{i - first}"
            for i, (file, first) in enumerate(zip(files, firsts, strict=True))
        ]
    rows = tuple(Row(*row, mask=mask) for row in zip(names, labels, strict=True))
    return RecordedPictures(str(pathlib.Path(pattern)), tuple(names), rows, catalogue.records, image, mask)


def _require_features(paths: Sequence[str], wanted: Mapping[str, str], label: str) -> None:
    """Checks the features of the first records, so that a wrong name is an error that lists them.

    Args:
        paths: Paths of the files.
        wanted: Names of features of bytes that must be there, by flag; empty: not wanted.
        label: Name of the feature of the label. Records may lack it, but not if they have a label of another name.
    """
    features = _first_features(paths)
    if not features:
        return
    listed = ", ".join(f"{name} ({kind})" for name, kind in sorted(features.items())) or "none"
    for flag, name in wanted.items():
        if name and features.get(name) != "bytes":
            raise ValueError(f"--{flag} must name a feature of bytes in {paths[0]}. Received: {name}, among {listed}")
    integers = sorted(name for name, kind in features.items() if kind == "int64" and re.search("label|class", name))
    if label not in features and integers:
        raise ValueError(
            f"--label_feature must name the label in {paths[0]}, or no record may have one of {', '.join(integers)}. "
            f"Received: {label}, among {listed}"
        )
    if features.get(label, "int64") != "int64":
        raise ValueError(f"--label_feature must name integers in {paths[0]}. Received: {label}, among {listed}")


def _first_features(paths: Sequence[str]) -> dict[str, str]:
    """Returns the kinds of the first records' features by name: bytes, float or int64; empty if there is no sound record."""
    records = index_records(paths[:1])
    kinds: dict[str, str] = {}
    for record in records.read(np.arange(min(_LOOKED_AT, len(records)))):
        try:
            features = tf.train.Example.FromString(record).features.feature
        except DecodeError:  # found and named by the catalogue
            return {}
        kinds |= {
            name: str(value.WhichOneof("kind")).removesuffix("_list")
            for name, value in features.items()
            if value.WhichOneof("kind")
        }
    return kinds
