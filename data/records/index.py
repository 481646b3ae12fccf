"""Random access to TFRecord files: an index of all records, and reading by position.

A record is its length (8 bytes, little-endian), a checksum of the length (4), the data, and a checksum of the data (4).
"""

import concurrent.futures
import dataclasses
import os
import struct
from collections.abc import Sequence

import numpy as np

_HEADER, _FOOTER = 12, 4
_THREADS = 16  # indexing mostly waits for the disk


@dataclasses.dataclass(frozen=True)
class RecordFiles:
    """The records of several files, numbered through in the order of the files.

    Attributes:
        paths: Paths of the files.
        files: `[n]` int32, index in `paths` of each record's file.
        offsets: `[n]` int64, offset of each record's data in its file, in bytes.
        lengths: `[n]` int64, length of each record's data, in bytes.
    """

    paths: tuple[str, ...]
    files: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of_lengths(cls, paths: Sequence[str], lengths: Sequence[np.ndarray]) -> "RecordFiles":
        """Makes the index from the lengths of each file's records."""
        offsets = [np.cumsum(part + _HEADER + _FOOTER) - part - _FOOTER for part in lengths]
        files = np.repeat(np.arange(len(paths), dtype=np.int32), [len(part) for part in lengths])
        return cls(tuple(paths), files, np.concatenate(offsets), np.concatenate(lengths))

    def __len__(self) -> int:
        return len(self.files)

    def read(self, positions: np.ndarray) -> list[bytes]:
        """Reads records by position; any number of threads may read at once.

        Args:
            positions: Integers `[k]` in 0..n-1.

        Returns:
            The data of each record, whose checksums are not checked.

        Raises:
            ValueError: If a file has changed since it was indexed.
        """
        return [self._read(int(position)) for position in positions]

    def _read(self, position: int) -> bytes:
        path, offset, length = self.paths[self.files[position]], self.offsets[position], int(self.lengths[position])
        # Opened each time: a data set can have more files than a process may hold open, and opening takes microseconds.
        file = os.open(path, os.O_RDONLY)
        try:
            header = os.pread(file, _HEADER + length, int(offset) - _HEADER)
        finally:
            os.close(file)
        if len(header) < _HEADER + length or struct.unpack_from("<Q", header) != (length,):
            raise ValueError(f"{path} must stay as it is while it is read. Received: another file; start again")
        return header[_HEADER:]


def index_records(paths: Sequence[str]) -> RecordFiles:
    """Indexes all records from their stored lengths, without reading the data.

    Args:
        paths: Paths of uncompressed TFRecord files on this machine.

    Raises:
        ValueError: If there is no file, or a file is incomplete; the message names the file and the remedy.
    """
    check_files(paths)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return RecordFiles.of_lengths(paths, list(pool.map(_lengths, paths)))


def check_files(paths: Sequence[str]) -> None:
    """Checks that all files exist.

    Raises:
        ValueError: If `paths` is empty, or a file does not exist; the message names the file and the remedy.
    """
    if not paths:
        raise ValueError("There must be a TFRecord file to read. Received: none")
    for path in paths:
        if not os.path.isfile(path):
            raise ValueError(f"TFRecord files must be on a disk of this machine. Received: {path}; copy or mount it")


def _lengths(path: str) -> np.ndarray:
    """Returns the lengths of the records of one file: `[n]` int64."""
    lengths = []
    file = os.open(path, os.O_RDONLY)
    try:
        place, end = 0, os.fstat(file).st_size
        while place < end:
            header = os.pread(file, _HEADER, place)
            length = struct.unpack_from("<Q", header)[0] if len(header) == _HEADER else end
            if place + _HEADER + length + _FOOTER > end:
                raise ValueError(
                    f"{path} must be whole TFRecords, uncompressed. Received: {end} bytes, with no record that ends "
                    f"in them at byte {place}; copy or prepare the file again"
                )
            lengths.append(length)
            place += _HEADER + length + _FOOTER
    finally:
        os.close(file)
    return np.array(lengths, np.int64)
