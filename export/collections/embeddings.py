"""Folders of embeddings, as `semppl.export.embed` writes them: what they are made of, and what they hold."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections.collection import Collection

MANIFEST = "_manifest.json"
"""What a folder of embeddings was made of: the model, and how the pictures were read; what reads Parquet passes over `_…`."""


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """The embedded pictures of a collection, without those that could not be read.

    Attributes:
        vectors: `[n, D]` float32, unit-norm.
        rows: n of them: id, path, truth, and class_name where the model answers.
        manifest: what they were made of.
    """

    vectors: np.ndarray
    rows: pa.Table
    manifest: dict[str, Any]

    def __len__(self) -> int:
        return len(self.vectors)


def describe(
    model: str | pathlib.Path, card: dict[str, Any], settings: Hyperparameters, collections: Sequence[Collection]
) -> dict[str, Any]:
    """Says what embeddings are made of.

    Args:
        model: folder of the exported model.
        card: its.
        settings: of its run, with what is read and how.
        collections: what that opens.
    """
    return {
        "pictures": sum(map(len, collections)),
        "pictures_sha256": fingerprint(collections),
        "model": str(model),
        "model_card_sha256": hashlib.sha256(json.dumps(card).encode()).hexdigest(),
        "weights_sha256": card["weights_sha256"],
        "embedding": card.get("embedding", {}),
        "hyperparameters": dataclasses.asdict(settings),
    }


def fingerprint(collections: Sequence[Collection]) -> str:
    """Identifies pictures by their names and what is told of them, in their order."""
    told = json.dumps([[collection.paths, collection.truths] for collection in collections])
    return hashlib.sha256(told.encode()).hexdigest()


def read_embeddings(folder: str | pathlib.Path) -> Embeddings:
    """Reads a folder of embeddings.

    Raises:
        ValueError: if there are none, or not yet all of them.
    """
    path = pathlib.Path(folder) / MANIFEST
    if not path.is_file():
        raise ValueError(f"--embeddings must be a folder that semppl.export.embed wrote. Received: {folder}")
    manifest: dict[str, Any] = json.loads(path.read_text())
    parts = sorted(path.parent.glob("part-*.parquet"))
    count = sum(pq.read_metadata(part).num_rows for part in parts)
    if count != manifest["pictures"]:
        raise ValueError(
            f"--embeddings must be whole: run semppl.export.embed again. Received: {folder}, "
            f"with {count} of {manifest['pictures']} pictures"
        )
    vectors, rows = zip(*map(_read, parts), strict=True)
    embeddings = Embeddings(np.concatenate(vectors), pa.concat_tables(rows), manifest)
    if not len(embeddings):
        raise ValueError(f"--embeddings must hold a picture that could be read. Received: {folder}")
    return embeddings


def count_readable(folder: str | pathlib.Path) -> int:
    """Counts the pictures in a folder of embeddings that could be read."""
    parts = pathlib.Path(folder).glob("part-*.parquet")
    return sum(int(np.count_nonzero(pq.read_table(part, columns=["valid"])["valid"].to_numpy())) for part in parts)


def summary(pictures: int, unreadable: int, out: str) -> str:
    """Says in a line what has been done with how many pictures."""
    but = f"; {unreadable} more could not be read (valid is false)" if unreadable else ""
    return f"{pictures - unreadable} pictures embedded in {out}{but}"


def _read(part: pathlib.Path) -> tuple[np.ndarray, pa.Table]:
    table = pq.read_table(part)
    table = table.filter(table["valid"]).combine_chunks()
    column = table["embedding"]
    vectors = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks] or [np.zeros(0, np.float32)])
    kept = [name for name in ("id", "path", "truth", "class_name") if name in table.column_names]
    return vectors.reshape(len(table), column.type.list_size), table.select(kept)
