"""Random access to TFRecord files: where every record stands, and the records at given positions.

A record is its length (8 bytes, little-endian), a checksum of the length (4), the data, and a checksum of the data (4).
"""

import concurrent.futures
import dataclasses
import os
import struct
from collections.abc import Sequence

import numpy as np

_HEADER, _FOOTER = 12, 4
_THREADS = 16  # walk that many files at a time: walking waits for the disk


@dataclasses.dataclass(frozen=True)
class RecordFiles:
    """The records of several files, numbered through in the order of the files.

    Attributes:
        paths: of the files.
        files: `[n]` int32, in which file a record is.
        offsets: `[n]` int64, at which byte of it the data begin.
        lengths: `[n]` int64, how many bytes they are.
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
        """Reads records from anywhere; any number of threads may read at once.

        Args:
            positions: `[k]` integers in 0..n-1.

        Returns:
            The data of each record, without checking their checksum.

        Raises:
            ValueError: if a file is not what it was when it was indexed.
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
    """Finds all records, by going from length to length; the data are not read.

    Args:
        paths: of TFRecord files on this machine, uncompressed.

    Raises:
        ValueError: if there is no file, or one is not whole, naming it and what to do.
    """
    check_files(paths)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return RecordFiles.of_lengths(paths, list(pool.map(_lengths, paths)))


def check_files(paths: Sequence[str]) -> None:
    """Looks whether all files are there.

    Raises:
        ValueError: if one is not, naming it and what to do, or if there is none.
    """
    if not paths:
        raise ValueError("There must be a TFRecord file to read. Received: none")
    for path in paths:
        if not os.path.isfile(path):
            raise ValueError(f"TFRecord files must be on a disk of this machine. Received: {path}; copy or mount it")


def _lengths(path: str) -> np.ndarray:
    """`[n]` int64: the lengths of the records of one file."""
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
