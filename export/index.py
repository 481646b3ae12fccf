"""Builds an index of embedded pictures for `semppl.export.search` and TensorBoard's projector.

python -m semppl.export.index --embeddings=embeddings --out=index
tensorboard --logdir index
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import pathlib
import shlex
import sys
from typing import Any

import numpy as np
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.export.collections import faiss_index
from semppl.programs import model_flags, quiet
from semppl.programs.extras import require_extra

_EMBEDDINGS = flags.DEFINE_string("embeddings", None, "Folder that semppl.export.embed wrote.")
_KIND = flags.DEFINE_enum(
    "kind",
    "auto",
    faiss_index.KINDS,
    "exact: compare a query with all embeddings; cells: only with those in cells near it; auto: by number.",
)
_MIN_RECALL = flags.DEFINE_float(
    "min_recall", 0.95, "Recall of the ten nearest neighbours that --kind=cells must reach.", 0.0, 1.0
)
_PROJECTOR_PICTURES = flags.DEFINE_integer(
    "projector_pictures", 5000, "Number of pictures in the projector, evenly spaced; 0: no projector.", lower_bound=0
)
flags.declare_key_flag("out")

quiet.parse_flags(__name__, required=["embeddings", "out"])

from semppl.export.collections.collection import open_collections, pictures_of
from semppl.export.collections.embeddings import Embeddings, read_embeddings
from semppl.export.collections.index_folder import write_index
from semppl.export.collections.projector import colour_column, side_of_thumbnails, write_projector
from semppl.export.collections.thumbnails import thumbnail
from semppl.runs.files import folder_written_aside


def build_index(
    embeddings: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    kind: str = "auto",
    min_recall: float = 0.95,
    projector_pictures: int = 5000,
) -> dict[str, Any]:
    """Writes an index, and a folder for the projector inside it.

    Args:
        embeddings: Folder that `semppl.export.embed` wrote.
        out: Folder to write, which must not exist.
        kind: One of `faiss_index.KINDS`.
        min_recall: Recall of the ten nearest neighbours that cells must reach, in (0, 1].
        projector_pictures: Number of pictures in the projector; 0 for no projector.

    Returns:
        The description of the index.

    Raises:
        ValueError: if the extra `search` or the embeddings are missing, or the folder exists.
    """
    require_extra("search")
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
    with folder_written_aside(target) as aside:
        if projector_pictures:
            description["projector"] = _write_projector(aside / "projector", embedded, projector_pictures)
        write_index(aside, built.index, embedded.rows, description)
    return description


def _write_projector(folder: pathlib.Path, embedded: Embeddings, count: int) -> dict[str, Any]:
    """Writes evenly spaced pictures for the projector, with thumbnails if the pictures can still be opened."""
    positions = np.unique(np.linspace(0, len(embedded) - 1, min(count, len(embedded))).astype(int))
    rows = embedded.rows.take(positions)
    metadata = {name: rows[name].to_pylist() for name in rows.column_names if name != "id"}
    ids = rows["id"].to_pylist()
    named = {"name": [path or str(number) for path, number in zip(metadata.pop("path"), ids, strict=True)]}
    report: dict[str, Any] = {"pictures": len(ids), "thumbnails": True, "colour_by": colour_column(metadata)}
    try:
        collections = open_collections(Hyperparameters.from_dict(embedded.manifest["hyperparameters"]))
        side = side_of_thumbnails(len(ids))
        thumbnails = [thumbnail(picture, side) for picture in pictures_of(collections, ids)]
    except ValueError as error:
        why = f"the pictures cannot be opened at the paths that embed used ({error})"
        thumbnails, report = [], report | {"thumbnails": False, "why": why}
    write_projector(folder, embedded.vectors[positions], named | metadata, thumbnails)
    return report


@quiet.program
def main(argv: list[str]) -> int:
    """Builds the index that the flags name; returns the exit code."""
    del argv
    description = build_index(
        str(_EMBEDDINGS.value),
        str(model_flags.OUT.value),
        kind=_KIND.value,
        min_recall=_MIN_RECALL.value,
        projector_pictures=_PROJECTOR_PICTURES.value,
    )
    how = (
        f"{description['cells_searched']} of {description['cells']} cells are searched"
        if description["kind"] == "cells"
        else "exact"
    )
    print(
        f"{counted(description['pictures'], 'picture')} indexed in {model_flags.OUT.value}: {how}, "
        f"recall@10 {description['recall_at_10']:.3f}"
    )
    if "projector" in description:
        command = shlex.join(["tensorboard", "--logdir", str(model_flags.OUT.value)])
        column = description["projector"]["colour_by"]
        colours = f"; for colours by class, choose {column} in the menu “Color by” on the left" if column else ""
        print(f"to view the pictures: {command}, then http://localhost:6006/#projector{colours}")
        if not description["projector"]["thumbnails"]:
            print(f"without thumbnails: {description['projector']['why']}", file=sys.stderr)
    return 0


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
