"""The folder that a job of embedding writes: a Parquet file per part, and the manifest when all of these are complete."""

import dataclasses
import json
import os
import pathlib
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from semppl.configs.wording import counted
from semppl.export.collections.collection import Collection, Span, plan_spans
from semppl.export.collections.embeddings import BEGUN, MANIFEST
from semppl.runs.files import file_written_aside

_IDENTITY = {
    "pictures": "the number of pictures",
    "pictures_sha256": "the names or labels of the pictures",
    "weights_sha256": "the model's weights",
    "model_card_sha256": "the model's card",
    "shard_size": "--shard_size",
}
"""Entries of the manifest that must be equal to resume, and their names in an error message."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A Parquet file to write.

    Attributes:
        number: Index of the file.
        span: Positions of the pictures.
    """

    number: int
    span: Span

    def __len__(self) -> int:
        return self.span.end - self.span.first

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"part-{self.number:05d}.parquet"


def plan_parts(collections: Sequence[Collection], size: int) -> list[Part]:
    """Distributes the pictures of collections over files of at most `size` rows."""
    return [Part(number, span) for number, span in enumerate(plan_spans(collections, size))]


class OutputFolder:
    """A folder of embeddings that is being written, by several processes if need be.

    Each file appears when it is complete. A part that two processes write, because one of these was taken for lost, is one file.

    Args:
        place: Path of the folder, or a URI of a file system of Arrow's, such as `s3://BUCKET/FOLDER` or `gs://BUCKET/FOLDER`.

    Raises:
        ValueError: if Arrow has no such file system.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._files, self._path = _file_system(place)

    def begin(self, manifest: dict[str, Any]) -> None:
        """Makes the folder and records what it will hold, or checks that the same command began it.

        Raises:
            ValueError: if the folder holds anything else.
        """
        names = self._names()
        record = next((name for name in (MANIFEST, BEGUN) if name in names), None)
        if record is not None:
            with self._files.open_input_stream(self._at(record)) as file:
                begun = json.loads(file.read())
            differing = [words for name, words in _IDENTITY.items() if begun.get(name) != manifest[name]]
            if differing:
                raise ValueError(f"{self._refusal}, which differs in {', '.join(differing)}")
        elif any(not name.startswith(".") for name in names):
            raise ValueError(f"{self._refusal}, with other files")
        else:
            self._files.create_dir(self._path)
            self._write(BEGUN, (json.dumps(manifest, indent=2) + "\n").encode())
        self._remove_unfinished(names)

    def missing(self, parts: Sequence[Part]) -> list[Part]:
        """Returns the parts that have no file yet."""
        names = self._names()
        return [part for part in parts if part.name not in names]

    def write(self, part: Part, table: pa.Table) -> None:
        """Writes the rows of a part."""
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        self._write(part.name, buffer.getvalue())

    def finish(self, parts: Sequence[Part], engine: str) -> int:
        """Checks that every picture has a row, and writes the manifest; removes parts that lack rows.

        Args:
            parts: All parts of the job.
            engine: Flag that names the engine, for the error.

        Returns:
            The number of unreadable pictures.

        Raises:
            ValueError: if rows are missing.
        """
        names = self._names()
        counts = {part: self._count(part) if part.name in names else (0, 0) for part in parts}
        short = [part.name for part, (rows, _) in counts.items() if rows != len(part)]
        if short:
            for name in names & set(short):  # so that the same command writes it anew
                self._files.delete_file(self._at(name))
            rows, pictures = sum(rows for rows, _ in counts.values()), sum(map(len, parts))
            raise ValueError(
                f"{engine} must write a row per picture. Received: {counted(rows, 'row')} of {counted(pictures, 'picture')} in "
                f"{self._place}, where {short[0]} is not whole: run the same command again, or with another engine, such as "
                "--engine=local"
            )
        self._remove_unfinished(names)
        if MANIFEST not in names:
            self._files.move(self._at(BEGUN), self._at(MANIFEST))
        return sum(unreadable for _, unreadable in counts.values())

    @property
    def _refusal(self) -> str:
        return f"--out must be a new folder, or one that the same command began. Received: {self._place}"

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _names(self) -> set[str]:
        return {info.base_name for info in self._files.get_file_info(fs.FileSelector(self._path, allow_not_found=True))}

    def _remove_unfinished(self, names: set[str]) -> None:
        """Removes files of processes that were killed."""
        for name in names:
            if name.startswith(".part-"):
                self._files.delete_file(self._at(name))

    def _write(self, name: str, content: bytes | pa.Buffer) -> None:
        if isinstance(self._files, fs.LocalFileSystem):
            with file_written_aside(pathlib.Path(self._at(name))) as local:
                local.write(content)
            return
        aside = self._at(f".{name}.{uuid.uuid4().hex}")
        with self._files.open_output_stream(aside) as file:
            file.write(content)
        self._files.move(aside, self._at(name))

    def _count(self, part: Part) -> tuple[int, int]:
        """Counts the rows of a file, and those of unreadable pictures."""
        with self._files.open_input_file(self._at(part.name)) as file:
            valid = pq.read_table(file, columns=["valid"])["valid"].to_numpy()
        return len(valid), len(valid) - int(np.count_nonzero(valid))


def _file_system(place: str) -> tuple[fs.FileSystem, str]:
    """Returns the file system of a path or URI, and the path in it."""
    if "://" not in place:
        return fs.LocalFileSystem(), os.path.abspath(place)
    try:
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(place)
    except (ValueError, pa.ArrowException) as error:
        raise ValueError(f"--out must be a folder that Arrow can write. Received: {place} ({error})") from error
    return found
