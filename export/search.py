"""Finds pictures that are similar to other pictures: prints the results, writes a page with thumbnails, or serves one.

python -m semppl.export.search --index=index --picture=a.jpg --out=page.html
python -m semppl.export.search --index=index --page_port=8600
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import functools
import pathlib
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import model_flags, quiet
from semppl.programs.extras import require_extra

_INDEX = flags.DEFINE_string("index", None, "Folder that semppl.export.index wrote.")
_PICTURE = flags.DEFINE_multi_string("picture", [], "Picture file to search for; the flag can be repeated.")
_RESULTS = flags.DEFINE_integer("results", 24, "Number of similar pictures to find.", lower_bound=1)
_PAGE_PORT = flags.DEFINE_integer(
    "page_port",
    None,
    "Port on the loopback interface of a page that searches for one picture after the other; 0: any free port.",
    lower_bound=0,
    upper_bound=2**16 - 1,
)
for _name in ("model", "out"):
    flags.declare_key_flag(_name)  # --help shows it


quiet.parse_flags(__name__, required=["index"])

from semppl.export.collections import faiss_index
from semppl.export.collections.collection import (
    Collection,
    decode_query,
    locate,
    open_collections,
    pictures_of,
    read_picture,
)
from semppl.export.collections.index_folder import find_model, read_description, read_index
from semppl.export.collections.rows import Answerer
from semppl.export.collections.search_page import Found, Result, file_address, page, section
from semppl.export.collections.search_server import SearchServer
from semppl.export.model.assets import read_card
from semppl.runs.files import write_atomically


class Search:
    """Finds similar pictures in an index.

    Args:
        index: Folder of the index.
        model: Folder of the exported model that embedded its pictures; by default the one in the index's description.

    Raises:
        ValueError: if the extra `search`, the index or the model is missing, or another model embedded the pictures, with which
            this one is not compatible.
    """

    def __init__(self, index: str | pathlib.Path, model: str = "") -> None:
        require_extra("search")
        folder = pathlib.Path(index)
        made_of = read_description(folder)["made_of"]
        recorded = find_model(folder)
        try:
            card = read_card(model or recorded)
        except ValueError as error:
            if model:
                raise
            raise ValueError(f"{error}, of which {index} was made; name its folder with --model") from error
        model = model or recorded
        if card["weights_sha256"] != made_of["weights_sha256"] and not _understands(card, made_of):
            raise ValueError(
                "--model must be the model that embedded the pictures, or one compatible with its projections. "
                f"Received: {model}, with other weights"
            )
        expected, received = _embedding(made_of), _embedding(card)
        if expected and expected != received:  # indexes of older versions do not record the embedding
            raise ValueError(f"--model must embed in {expected}, as in the index. Received: {model}, with {received}")
        self.hyperparameters = Hyperparameters.from_dict(made_of["hyperparameters"])
        self._answer = Answerer(model)
        self._index, self._rows = read_index(folder)

    def like(self, pictures: Sequence[bytes], count: int, *, names: Sequence[str] = ()) -> list[Result]:
        """Finds the pictures most similar to each query.

        Args:
            pictures: Contents of the query files, from `collection.read_picture`.
            count: Number of pictures to find per query.
            names: Names of the queries; by default their numbers.

        Raises:
            ValueError: if a query cannot be read.
        """
        answers = self._answer(pictures)
        width = answers["embedding"].shape[1]
        if width != self._index.d:
            raise ValueError(
                f"--model must embed in {self._index.d} numbers, as in the index. Received: a model with {width}"
            )
        names = names or [f"number {number + 1}" for number in range(len(pictures))]
        if not answers["valid"].all():
            raise ValueError(f"--picture must be a picture. Received: {names[int(np.argmin(answers['valid']))]}")
        found = [
            tuple(Found(similarity=float(s), **row) for s, row in zip(of, self._rows.take(at).to_pylist(), strict=True))
            for of, at in faiss_index.found(self._index, answers["embedding"], count)
        ]
        return [Result(*parts) for parts in zip(names, pictures, found, *_predictions(answers), strict=True)]

    def like_indexed(self, position: int, count: int) -> Result:
        """Finds the pictures most similar to the one at a position among those of all collections.

        Raises:
            ValueError: if there is no such picture, or it cannot be read.
        """
        collections = self._collections
        if not 0 <= position < sum(map(len, collections)):
            where = "in the embedded collections" if collections else "where the embedded collections were"
            raise ValueError(f"There must be a picture {where}. Received: number {position}")
        collection, inside = locate(collections, position)
        name = collection.paths[inside] or str(position)
        (result,) = self.like(collection.read([inside]), count, names=[name])
        return result

    def section(self, result: Result, link: Callable[[Found], str] | None = None) -> str:
        """Formats a result as HTML; without thumbnails, if the collections cannot be opened.

        Args:
            result: Result of a search.
            link: Function that returns the address to which a picture leads; by default that of its file, if it is one.
        """
        ids, collections = [one.id for one in result.found], self._collections
        pictures = list(pictures_of(collections, ids)) if collections else [b""] * len(ids)
        return section(result, pictures, link=link or self._file_of)

    def page(self, results: Sequence[Result]) -> str:
        """Formats results as a self-contained HTML page, from which each picture leads to its file."""
        return page("".join(map(self.section, results)), f"More like {results[0].name}")

    @functools.cached_property
    def _collections(self) -> list[Collection]:
        """The collections that were embedded; none if they cannot be opened."""
        try:
            return open_collections(self.hyperparameters)
        except ValueError:
            return []

    def _file_of(self, found: Found) -> str:
        """Returns the address of a picture's file; empty if the picture is not in a folder."""
        place = locate(self._collections, found.id)[0].place if self._collections else ""
        return file_address(place, found) if place else ""


def _predictions(answers: dict[str, np.ndarray]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Returns class name, probability and abstention of each query; without a memory, no class."""
    count = len(answers["embedding"])
    if "class_name" not in answers:
        return [""] * count, [0.0] * count, [False] * count
    names = [name.decode() for name in answers["class_name"]]
    return names, answers["probability"].tolist(), answers["abstain"].tolist()


def _understands(card: dict[str, Any], made_of: dict[str, Any]) -> bool:
    """Returns whether a model was trained to be compatible with the projections in an index."""
    trained_with = card.get("compatible_with") or {}
    projections = made_of.get("embedding", {}).get("kind") == "projections"
    return projections and trained_with.get("weights_sha256") == made_of["weights_sha256"]


def _embedding(record: dict[str, Any]) -> str:
    """Formats width and kind of the embedding in a model card or manifest; empty if not recorded."""
    embedding = record.get("embedding")
    return f"{embedding['width']} {embedding['kind']}" if embedding else ""


def _write(out: str, page: str) -> None:
    try:
        write_atomically(pathlib.Path(out), page)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:  # `quiet.program` reports others
        raise ValueError(f"--out must be a file that can be written. Received: {out} ({error.strerror})") from error


def _serve(search: Search, port: int) -> None:
    """Serves the page of the search until SIGTERM or SIGINT."""

    def by_file(name: str, content: bytes) -> str:
        return further(search.like([decode_query(content, search.hyperparameters)], _RESULTS.value, names=[name])[0])

    def by_id(position: int) -> str:
        return further(search.like_indexed(position, _RESULTS.value))

    def further(result: Result) -> str:
        return search.section(result, lambda found: f"/like/{found.id}")

    try:
        server = SearchServer(port, by_file=by_file, by_id=by_id)
    except OSError as error:
        raise ValueError(f"--page_port must be free; 0 takes one that is. Received: {port} ({error})") from error
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"search on http://localhost:{server.server_port}", flush=True)
    server.serve_forever()


@quiet.program
def main(argv: list[str]) -> int:
    """Prints the results, writes the page if `--out` is set, and serves it if `--page_port` is; returns the exit code."""
    del argv
    if not _PICTURE.value and _PAGE_PORT.value is None:
        raise ValueError("--picture must name a picture file, or --page_port a port. Received: neither")
    search = Search(str(_INDEX.value), model_flags.MODEL.value or "")
    pictures = [read_picture(path, search.hyperparameters) for path in _PICTURE.value]
    results = search.like(pictures, _RESULTS.value, names=_PICTURE.value) if pictures else []
    for result in results:
        print(f"more like {result.name}{f' ({result.describe()})' if result.class_name else ''}:")
        for one in result.found:
            print(f"  {one.describe()}")
    if model_flags.OUT.value and results:
        _write(model_flags.OUT.value, search.page(results))
        print(f"to view the pictures: {model_flags.OUT.value}")
    if _PAGE_PORT.value is not None:
        _serve(search, _PAGE_PORT.value)
    return 0


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
