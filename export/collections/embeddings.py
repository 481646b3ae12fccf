"""Folders of embeddings, as `semppl.export.embed` writes them: manifest and Parquet files."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.export.collections.collection import Collection
from semppl.runs.files import file_written_aside

MANIFEST = "_manifest.json"
"""File that records the model and how the pictures were read; readers of Parquet ignore names that begin with `_`."""

BEGUN = "_begun.json"
"""The manifest of a folder that is not complete yet."""


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """The readable pictures of a folder of embeddings.

    Attributes:
        vectors: `[n, D]` unit-norm embeddings.
        rows: Table of `n` rows with the columns id, path, truth and, if the model classifies, class_name.
        manifest: Manifest of the folder.
    """

    vectors: np.ndarray
    rows: pa.Table
    manifest: dict[str, Any]

    def __len__(self) -> int:
        return len(self.vectors)


def describe(
    model: str | pathlib.Path, card: dict[str, Any], settings: Hyperparameters, collections: Sequence[Collection]
) -> dict[str, Any]:
    """Returns the manifest of a folder of embeddings.

    Args:
        model: Folder of the exported model.
        card: Model card of that model.
        settings: Hyper-parameters of its run, with `data` and the settings that say how to read it.
        collections: Collections that these settings open.
    """
    return {
        "pictures": sum(map(len, collections)),
        "pictures_sha256": fingerprint(collections),
        "model": os.path.abspath(model),
        "model_card_sha256": hashlib.sha256(json.dumps(card).encode()).hexdigest(),
        "weights_sha256": card["weights_sha256"],
        "embedding": card.get("embedding", {}),
        "hyperparameters": dataclasses.asdict(settings),
    }


def fingerprint(collections: Sequence[Collection]) -> str:
    """Hashes the names and true classes of pictures, in their order."""
    names_and_truths = json.dumps([[collection.paths, collection.truths] for collection in collections])
    return hashlib.sha256(names_and_truths.encode()).hexdigest()


def read_embeddings(folder: str | pathlib.Path) -> Embeddings:
    """Reads a folder of embeddings.

    Raises:
        ValueError: if the folder has no embeddings, is incomplete, or has no readable picture.
    """
    path = pathlib.Path(folder) / MANIFEST
    if path.with_name(BEGUN).is_file():
        raise ValueError(
            f"--embeddings must be whole: run semppl.export.embed again. Received: {folder}, not yet whole"
        )
    if not path.is_file():
        raise ValueError(f"--embeddings must be a folder that semppl.export.embed wrote. Received: {folder}")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    parts = sorted(path.parent.glob("part-*.parquet"))
    count = sum(pq.read_metadata(part).num_rows for part in parts)
    if count != manifest["pictures"]:
        raise ValueError(
            f"--embeddings must be whole: run semppl.export.embed again. Received: {folder}, "
            f"with {count} of {counted(manifest['pictures'], 'picture')}"
        )
    vectors, rows = zip(*map(_read, parts), strict=True)
    embeddings = Embeddings(np.concatenate(vectors), pa.concat_tables(rows), manifest)
    if not len(embeddings):
        raise ValueError(f"--embeddings must hold a picture that could be read. Received: {folder}")
    return embeddings


def write_predictions(folder: str | pathlib.Path, file: str | pathlib.Path) -> None:
    """Writes the answers in a folder of embeddings as a CSV file.

    Args:
        folder: Folder of the embeddings of a model with a memory.
        file: Path of the file to write. Its columns are path, class (empty where the picture could not be read), probability, in
            0..1, and abstain, `true` or `false`; a row per picture.
    """
    columns = ["path", "class_name", "probability", "abstain", "valid"]
    with file_written_aside(pathlib.Path(file)) as raw:
        text = io.TextIOWrapper(raw, "utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(["path", "class", "probability", "abstain"])
        for part in sorted(pathlib.Path(folder).glob("part-*.parquet")):
            for row in pq.read_table(part, columns=columns).to_pylist():
                name = row["class_name"] if row["valid"] else ""
                writer.writerow([row["path"], name, f"{row['probability']:.4f}", str(row["abstain"]).lower()])
        text.detach()  # flushes


def summary(pictures: int, unreadable: int, out: str) -> str:
    """Formats the numbers of embedded and of unreadable pictures as one line."""
    but = f"; {unreadable} more could not be read (valid is false)" if unreadable else ""
    return f"{counted(pictures - unreadable, 'picture')} embedded in {out}{but}"


def _read(part: pathlib.Path) -> tuple[np.ndarray, pa.Table]:
    table = pq.read_table(part)
    table = table.filter(table["valid"]).combine_chunks()
    column = table["embedding"]
    vectors = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks] or [np.zeros(0, np.float32)])
    columns = [name for name in ("id", "path", "truth", "class_name") if name in table.column_names]
    return vectors.reshape(len(table), column.type.list_size), table.select(columns)
