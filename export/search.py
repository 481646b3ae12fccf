"""Finds pictures that are like others: as text, and as a page with thumbnails.

python -m semppl.export.search --index=index --picture=a.jpg --out=page.html
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from html import escape
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import pyarrow.parquet as pq
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections import faiss_index
from semppl.export.collections.collection import open_collections, pictures_of, read_picture
from semppl.export.collections.rows import Answerer
from semppl.export.collections.thumbnails import data_url, thumbnail
from semppl.export.index import DESCRIPTION, FAISS, ROWS
from semppl.export.model.assets import read_card
from semppl.programs import model_flags
from semppl.programs.extras import require_extra
from semppl.runs.checkpoints import write_atomically

_SIDE = 128  # of a picture on the page, in pixels
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222; }
ol { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .8em; } figure { margin: 0; width: 128px; }
figcaption { font-size: 12px; overflow-wrap: anywhere; } img { width: 128px; height: 128px; border: 1px solid #ddd; }
.similarity { font-weight: bold; } .class { color: #555; }
"""

_INDEX = flags.DEFINE_string("index", None, "Folder that semppl.export.index wrote.")
_PICTURE = flags.DEFINE_multi_string("picture", [], "A picture file; may be given several times.")
_RESULTS = flags.DEFINE_integer("results", 24, "How many similar pictures are told.", lower_bound=1)
for _name in ("model", "out"):
    flags.declare_key_flag(_name)  # --help shows it


@dataclasses.dataclass(frozen=True)
class Found:
    """A picture of the collection.

    Attributes:
        id: its number.
        path: in its source; may be empty.
        similarity: to the query, a cosine in -1..1.
        truth: the class that the data tell, or empty.
        class_name: the class that the model told, or empty.
    """

    id: int
    path: str
    similarity: float
    truth: str = ""
    class_name: str = ""

    def describe(self) -> str:
        """Says in a line which it is."""
        known = self.truth or (f"{self.class_name}?" if self.class_name else "")
        return f"{self.similarity:.3f}  {self.path or self.id}{f'  [{known}]' if known else ''}"


class Search:
    """Answers "more like this" from an index.

    Args:
        index: its folder.
        model: folder of the exported model that embedded its pictures; empty: where it was then.

    Raises:
        ValueError: if the extra `search` is missing, or the index or the model, or the model is another one.
    """

    def __init__(self, index: str | pathlib.Path, model: str = "") -> None:
        require_extra("search")
        import faiss

        folder = pathlib.Path(index)
        if not (folder / DESCRIPTION).is_file():
            raise ValueError(f"--index must be a folder that semppl.export.index wrote. Received: {index}")
        made_of = json.loads((folder / DESCRIPTION).read_text())["made_of"]
        model = model or made_of["model"]
        card = read_card(model)
        if card["weights_sha256"] != made_of["weights_sha256"]:
            raise ValueError(
                f"--model must be the model that embedded the pictures. Received: {model}, with other weights"
            )
        made, given = _embedding(made_of), _embedding(card)
        if made and made != given:  # an index made before does not say it
            raise ValueError(f"--model must embed in {made}, as in the index. Received: {model}, with {given}")
        self.hyperparameters = Hyperparameters.from_dict(made_of["hyperparameters"])
        self._answer = Answerer(model)
        self._index = faiss.read_index(str(folder / FAISS))
        self._rows = pq.read_table(folder / ROWS)

    def like(self, pictures: Sequence[bytes], count: int, *, names: Sequence[str] = ()) -> list[list[Found]]:
        """Finds the `count` pictures most similar to each of some files, as `collection.read_picture` gives them.

        Args:
            pictures: the files.
            count: how many are found for each.
            names: of the files, for errors; by default their numbers.

        Raises:
            ValueError: if one cannot be read.
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
        similarities, places = faiss_index.search(self._index, answers["embedding"], count)
        return [
            [Found(similarity=float(s), **row) for s, row in zip(of, self._rows.take(at).to_pylist(), strict=True)]
            for of, at in zip(similarities, places, strict=True)
        ]

    def page(self, names: Sequence[str], pictures: Sequence[bytes], found: Sequence[Sequence[Found]]) -> str:
        """Writes what was found as a page that needs no other file; without thumbnails, if the collection has gone.

        Args:
            names: of the queries.
            pictures: their files.
            found: like each of them.
        """
        try:
            collections = open_collections(self.hyperparameters)
        except ValueError:
            collections = []
        sections = ""
        for name, picture, some in zip(names, pictures, found, strict=True):
            shown = pictures_of(collections, [one.id for one in some]) if collections else [b""] * len(some)
            figures = "".join(_figure(one, small) for one, small in zip(some, shown, strict=True))
            query = f'<img alt="" src="{data_url(thumbnail(picture, _SIDE))}">'
            sections += f"<section><h2>More like {escape(name)}</h2>{query}<ol>{figures}</ol></section>\n"
        return (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>More like {escape(names[0])}</title>'
            f"<style>{_STYLE}</style>\n{sections}</html>\n"
        )


def _embedding(told: dict[str, Any]) -> str:
    """Says which numbers a model's card, or what an index was made of, tells of; empty where it does not."""
    embedding = told.get("embedding")
    return f"{embedding['width']} {embedding['kind']}" if embedding else ""


def _figure(found: Found, picture: bytes) -> str:
    known = found.truth or (f"{found.class_name}?" if found.class_name else "")
    return (
        f'<li><figure><img alt="" src="{data_url(thumbnail(picture, _SIDE))}"><figcaption>'
        f'<span class="similarity">{found.similarity:.3f}</span> {escape(found.path or str(found.id))} '
        f'<span class="class">{escape(known)}</span></figcaption></figure></li>'
    )


def _write(out: str, page: str) -> None:
    try:
        write_atomically(pathlib.Path(out), page)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:  # others are told already
        raise ValueError(f"--out must be a file that can be written. Received: {out} ({error.strerror})") from error


@quiet.program
def main(argv: list[str]) -> int:
    """Prints what was found, and writes the page if it is asked for; returns the exit code."""
    del argv
    if not _PICTURE.value:
        raise ValueError("--picture must name a picture file. Received: none")
    search = Search(str(_INDEX.value), model_flags.MODEL.value or "")
    pictures = [read_picture(path, search.hyperparameters) for path in _PICTURE.value]
    found = search.like(pictures, _RESULTS.value, names=_PICTURE.value)
    for name, some in zip(_PICTURE.value, found, strict=True):
        print(f"more like {name}:")
        for one in some:
            print(f"  {one.describe()}")
    if model_flags.OUT.value:
        _write(model_flags.OUT.value, search.page(_PICTURE.value, pictures, found))
        print(f"to look at them: {model_flags.OUT.value}")
    return 0


def run() -> None:
    """Is the console script."""
    flags.mark_flag_as_required("index")
    quiet.run(main)


if __name__ == "__main__":
    run()
