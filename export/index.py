"""Indexes embedded pictures for `semppl.export.search`, and for TensorBoard's projector.

python -m semppl.export.index --embeddings=embeddings --out=index
tensorboard --logdir index
"""

import json
import pathlib
import sys
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import pyarrow.parquet as pq
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections import faiss_index
from semppl.export.collections.collection import open_collections, pictures_of
from semppl.export.collections.embeddings import Embeddings, read_embeddings
from semppl.export.collections.projector import side_of_thumbnails, write_projector
from semppl.export.collections.thumbnails import thumbnail
from semppl.export.model.versions import written_aside
from semppl.programs import model_flags
from semppl.programs.extras import require_extra

FAISS, ROWS, DESCRIPTION = "index.faiss", "rows.parquet", "index.json"
"""Files of an index: FAISS's, the pictures in its order, and what it is."""

_EMBEDDINGS = flags.DEFINE_string("embeddings", None, "Folder that semppl.export.embed wrote.")
_KIND = flags.DEFINE_enum("kind", "auto", faiss_index.KINDS, "exact, or cells: of many, only those near the query.")
_MIN_RECALL = flags.DEFINE_float("min_recall", 0.95, "Share of the nearest that cells must find.", 0.0, 1.0)
_PROJECTOR_PICTURES = flags.DEFINE_integer(
    "projector_pictures", 5000, "How many the projector shows, evenly over all; 0: no projector.", lower_bound=0
)
flags.declare_key_flag("out")


def build_index(
    embeddings: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    kind: str = "auto",
    min_recall: float = 0.95,
    projector_pictures: int = 5000,
) -> dict[str, Any]:
    """Writes an index, and a folder for the projector below it.

    Args:
        embeddings: folder that `semppl.export.embed` wrote.
        out: folder to write, new.
        kind: of `faiss_index.KINDS`.
        min_recall: of the ten nearest, with cells, in (0, 1].
        projector_pictures: how many the projector shows; 0: it is left out.

    Returns:
        The index's description.

    Raises:
        ValueError: if the extra `search` is missing, the embeddings are, or the folder is there already.
    """
    require_extra("search")
    import faiss

    target = pathlib.Path(out)
    if target.exists():
        raise ValueError(f"--out must be a new folder. Received: {out}")
    embedded = read_embeddings(embeddings)
    built = faiss_index.build(embedded.vectors, kind=kind, min_recall=min_recall)
    description = {
        "pictures": len(embedded),
        "not_readable": embedded.manifest["pictures"] - len(embedded),
        "width": embedded.vectors.shape[1],
        "kind": built.kind,
        "cells": built.cells,
        "cells_searched": built.cells_searched,
        "recall_at_10": built.recall,
        "made_of": embedded.manifest,
    }
    with written_aside(target) as aside:
        faiss.write_index(built.index, str(aside / FAISS))
        pq.write_table(embedded.rows, aside / ROWS)
        if projector_pictures:
            description["projector"] = _write_projector(aside / "projector", embedded, projector_pictures)
        (aside / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    return description


def _write_projector(folder: pathlib.Path, embedded: Embeddings, count: int) -> dict[str, Any]:
    """Shows pictures evenly over all; with thumbnails, if the pictures are still where they were."""
    places = np.unique(np.linspace(0, len(embedded) - 1, min(count, len(embedded))).astype(int))
    rows = embedded.rows.take(places)
    metadata = {name: rows[name].to_pylist() for name in rows.column_names if name != "id"}
    ids = rows["id"].to_pylist()
    named = {"name": [path or str(number) for path, number in zip(metadata.pop("path"), ids, strict=True)]}
    told: dict[str, Any] = {"pictures": len(ids), "thumbnails": True}
    try:
        collections = open_collections(Hyperparameters.from_dict(embedded.manifest["hyperparameters"]))
        side = side_of_thumbnails(len(ids))
        thumbnails = [thumbnail(picture, side) for picture in pictures_of(collections, ids)]
    except ValueError as error:
        why = f"the pictures are not where embed found them, seen from this folder ({error})"
        thumbnails, told = [], told | {"thumbnails": False, "why": why}
    write_projector(folder, embedded.vectors[places], named | metadata, thumbnails)
    return told


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    told = build_index(
        str(_EMBEDDINGS.value),
        str(model_flags.OUT.value),
        kind=_KIND.value,
        min_recall=_MIN_RECALL.value,
        projector_pictures=_PROJECTOR_PICTURES.value,
    )
    how = f"{told['cells_searched']} of {told['cells']} cells are searched" if told["kind"] == "cells" else "exact"
    print(
        f"{told['pictures']} pictures indexed in {model_flags.OUT.value}: {how}, recall@10 {told['recall_at_10']:.3f}"
    )
    if "projector" in told:
        print(f"to look at them: tensorboard --logdir {model_flags.OUT.value}")
        if not told["projector"]["thumbnails"]:
            print(f"without thumbnails: {told['projector']['why']}", file=sys.stderr)
    return 0


def run() -> None:
    """Is the console script."""
    flags.mark_flags_as_required(["embeddings", "out"])
    quiet.run(main)


if __name__ == "__main__":
    run()
