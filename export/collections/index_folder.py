"""A folder with an index of embedded pictures: the FAISS index, the pictures in its order, and a description."""

import json
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_FAISS, _ROWS, _DESCRIPTION = "index.faiss", "rows.parquet", "index.json"


def write_index(folder: pathlib.Path, index: Any, rows: pa.Table, description: dict[str, Any]) -> None:
    """Writes an index to an existing folder.

    Args:
        folder: Folder to write to.
        index: FAISS index of `n` embeddings.
        rows: `n` rows that describe the pictures, in the order of the index.
        description: Description of the index, and of the embeddings it was built from.
    """
    import faiss

    faiss.write_index(index, str(folder / _FAISS))
    pq.write_table(rows, folder / _ROWS)
    (folder / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def read_description(folder: pathlib.Path) -> dict[str, Any]:
    """Reads the description of an index.

    Raises:
        ValueError: if the folder has no index.
    """
    path = folder / _DESCRIPTION
    if not path.is_file():
        raise ValueError(f"--index must be a folder that semppl.export.index wrote. Received: {folder}")
    description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return description


def find_model(folder: pathlib.Path) -> str:
    """Returns the path of the model that embedded the pictures of an index.

    The path is relative in indexes of older versions: it starts from the working directory, or else from a folder above the index.
    """
    recorded = str(read_description(folder)["made_of"]["model"])
    above = (parent / recorded for parent in (pathlib.Path(), *folder.absolute().parents))
    return next((str(model) for model in above if model.is_dir()), recorded)


def read_index(folder: pathlib.Path) -> tuple[Any, pa.Table]:
    """Reads the FAISS index and the rows that describe its pictures."""
    import faiss

    return faiss.read_index(str(folder / _FAISS)), pq.read_table(folder / _ROWS)
