"""Finds pictures that are similar to other pictures; prints the results, and writes a page with thumbnails.

python -m semppl.export.search --index=index --picture=a.jpg --out=page.html
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import pathlib
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import model_flags, quiet
from semppl.programs.extras import require_extra

_INDEX = flags.DEFINE_string("index", None, "Folder that semppl.export.index wrote.")
_PICTURE = flags.DEFINE_multi_string("picture", [], "Picture file to search for; the flag can be repeated.")
_RESULTS = flags.DEFINE_integer("results", 24, "Number of similar pictures to find.", lower_bound=1)
for _name in ("model", "out"):
    flags.declare_key_flag(_name)  # --help shows it

quiet.parse_flags(__name__, required=["index"])

from semppl.export.collections import faiss_index
from semppl.export.collections.collection import open_collections, pictures_of, read_picture
from semppl.export.collections.index_folder import read_description, read_index
from semppl.export.collections.rows import Answerer
from semppl.export.collections.thumbnails import data_url, thumbnail
from semppl.export.model.assets import read_card
from semppl.runs.files import write_atomically

_SIDE = 128  # of a picture on the page, in pixels
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222; }
ol { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .8em; } figure { margin: 0; width: 128px; }
figcaption { font-size: 12px; overflow-wrap: anywhere; } img { width: 128px; height: 128px; border: 1px solid #ddd; }
.similarity { font-weight: bold; } .class { color: #555; }
"""


@dataclasses.dataclass(frozen=True)
class Found:
    """A picture that a search found.

    Attributes:
        id: Position of the picture among those of all collections.
        path: Path in its source; may be empty.
        similarity: Cosine similarity to the query, in -1..1.
        truth: Name of the true class; empty if unknown.
        class_name: Name of the predicted class; empty if the model does not classify.
    """

    id: int
    path: str
    similarity: float
    truth: str = ""
    class_name: str = ""

    def describe(self) -> str:
        """Formats similarity, path and class as one line."""
        shown = self.shown_class()
        return f"{self.similarity:.3f}  {self.path or self.id}{f'  [{shown}]' if shown else ''}"

    def shown_class(self) -> str:
        """Returns the true class, or the predicted one with a question mark, or nothing."""
        return self.truth or (f"{self.class_name}?" if self.class_name else "")


class Search:
    """Finds similar pictures in an index.

    Args:
        index: Folder of the index.
        model: Folder of the exported model that embedded its pictures; by default the one in the index's description.

    Raises:
        ValueError: if the extra `search`, the index or the model is missing, or another model embedded the pictures.
    """

    def __init__(self, index: str | pathlib.Path, model: str = "") -> None:
        require_extra("search")
        folder = pathlib.Path(index)
        made_of = read_description(folder)["made_of"]
        model = model or made_of["model"]
        card = read_card(model)
        if card["weights_sha256"] != made_of["weights_sha256"]:
            raise ValueError(
                f"--model must be the model that embedded the pictures. Received: {model}, with other weights"
            )
        expected, received = _embedding(made_of), _embedding(card)
        if expected and expected != received:  # indexes of older versions do not record the embedding
            raise ValueError(f"--model must embed in {expected}, as in the index. Received: {model}, with {received}")
        self.hyperparameters = Hyperparameters.from_dict(made_of["hyperparameters"])
        self._answer = Answerer(model)
        self._index, self._rows = read_index(folder)

    def like(self, pictures: Sequence[bytes], count: int, *, names: Sequence[str] = ()) -> list[list[Found]]:
        """Finds the pictures most similar to each query.

        Args:
            pictures: Contents of the query files, from `collection.read_picture`.
            count: Number of pictures to find per query.
            names: Names of the queries, for error messages; by default their numbers.

        Returns:
            For each query, the pictures found, by falling similarity.

        Raises:
            ValueError: if a query cannot be read.
        """
        answers = self._answer(pictures)
        width = answers["embedding"].shape[1]
        if width != self._index.d:
            raise ValueError(
                f"--model must embed in {self._index.d} numbers, as in the index. Received: a model with {width}"
            )
        if not answers["valid"].all():
            worst = int(np.argmin(answers["valid"]))
            raise ValueError(
                f"--picture must be a picture. Received: {names[worst] if names else f'number {worst + 1}'}"
            )
        similarities, positions = faiss_index.search(self._index, answers["embedding"], count)
        return [
            [Found(similarity=float(s), **row) for s, row in zip(of, self._rows.take(at).to_pylist(), strict=True)]
            for of, at in zip(similarities, positions, strict=True)
        ]

    def page(self, names: Sequence[str], pictures: Sequence[bytes], found: Sequence[Sequence[Found]]) -> str:
        """Formats results as a self-contained HTML page; without thumbnails, if the collections cannot be opened.

        Args:
            names: Names of the queries.
            pictures: Contents of the query files.
            found: Pictures found for each query.
        """
        try:
            collections = open_collections(self.hyperparameters)
        except ValueError:
            collections = []
        sections = ""
        for name, picture, similar in zip(names, pictures, found, strict=True):
            files = pictures_of(collections, [one.id for one in similar]) if collections else [b""] * len(similar)
            figures = "".join(_figure(one, file) for one, file in zip(similar, files, strict=True))
            query = f'<img alt="" src="{data_url(thumbnail(picture, _SIDE))}">'
            sections += f"<section><h2>More like {escape(name)}</h2>{query}<ol>{figures}</ol></section>\n"
        return (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>More like {escape(names[0])}</title>'
            f"<style>{_STYLE}</style>\n{sections}</html>\n"
        )


def _embedding(record: dict[str, Any]) -> str:
    """Formats width and kind of the embedding in a model card or manifest; empty if not recorded."""
    embedding = record.get("embedding")
    return f"{embedding['width']} {embedding['kind']}" if embedding else ""


def _figure(found: Found, picture: bytes) -> str:
    return (
        f'<li><figure><img alt="" src="{data_url(thumbnail(picture, _SIDE))}"><figcaption>'
        f'<span class="similarity">{found.similarity:.3f}</span> {escape(found.path or str(found.id))} '
        f'<span class="class">{escape(found.shown_class())}</span></figcaption></figure></li>'
    )


def _write(out: str, page: str) -> None:
    try:
        write_atomically(pathlib.Path(out), page)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:  # `quiet.program` reports others
        raise ValueError(f"--out must be a file that can be written. Received: {out} ({error.strerror})") from error


@quiet.program
def main(argv: list[str]) -> int:
    """Prints the results, and writes the page if `--out` is set; returns the exit code."""
    del argv
    if not _PICTURE.value:
        raise ValueError("--picture must name a picture file. Received: none")
    search = Search(str(_INDEX.value), model_flags.MODEL.value or "")
    pictures = [read_picture(path, search.hyperparameters) for path in _PICTURE.value]
    found = search.like(pictures, _RESULTS.value, names=_PICTURE.value)
    for name, similar in zip(_PICTURE.value, found, strict=True):
        print(f"more like {name}:")
        for one in similar:
            print(f"  {one.describe()}")
    if model_flags.OUT.value:
        _write(model_flags.OUT.value, search.page(_PICTURE.value, pictures, found))
        print(f"to view the pictures: {model_flags.OUT.value}")
    return 0


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
