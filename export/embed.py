"""Embeds and classifies many pictures with an exported model: into Parquet files, a CSV file of predictions, or both.

python -m semppl.export.embed --model=served/digits/1 --data=folder:pictures --out=embeddings
python -m semppl.export.embed --model=served/digits/1 --data=folder:pictures --predictions=predictions.csv

With --out, an interrupted run can be resumed.
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import concurrent.futures
import contextlib
import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tqdm
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.programs import model_flags, quiet
from semppl.programs.batch_size_flag import BatchSize
from semppl.programs.data_flags import data_from_flags

BATCH_SIZE = BatchSize(64, "Number of pictures per batch.")
_SHARD_SIZE = flags.DEFINE_integer("shard_size", 10_000, "Maximum number of pictures per Parquet file.", lower_bound=1)
_PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "CSV file to write: path, class, probability and abstain of each picture."
)
for _name in ("model", "data", "out"):
    flags.declare_key_flag(_name)  # --help shows it

quiet.parse_flags(__name__, required=["model"], define=BATCH_SIZE.define)

import pyarrow as pa
import pyarrow.parquet as pq

from semppl.export.collections.collection import Collection, Span, open_collections, plan_spans
from semppl.export.collections.embeddings import MANIFEST, count_readable, describe, summary, write_predictions
from semppl.export.collections.rows import Answerer, make_table
from semppl.export.model.assets import read_card, read_class_names
from semppl.runs.files import file_written_aside, write_atomically

_IDENTITY = {
    "pictures": "the number of pictures",
    "pictures_sha256": "the names or labels of the pictures",
    "weights_sha256": "the model's weights",
    "model_card_sha256": "the model's card",
    "shard_size": "--shard_size",
}
"""Entries of the manifest that must be equal to resume, and their names in an error message."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """A Parquet file to write.

    Attributes:
        path: Path of the file.
        collection: Collection of its pictures.
        span: Positions of its pictures.
    """

    path: pathlib.Path
    collection: Collection
    span: Span

    def __len__(self) -> int:
        return self.span.end - self.span.first


def embed(
    model: str | pathlib.Path,
    reading: dict[str, Any],
    out: str | pathlib.Path,
    *,
    batch_size: int = 64,
    shard_size: int = 10_000,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Writes `part-00000.parquet` and so on, each file atomically, in the order of the data.

    A row per picture has the columns id (position), path (or name), truth (name of the true class), and the outputs of the model's
    `serving_default`. All pictures of a file are of one source.

    Args:
        model: Folder of an exported model.
        reading: `data`, and hyper-parameters that say how to read it; the others are those of the model's run.
        out: Folder to write; must be new, or written by an interrupted run of the same command.
        batch_size: Number of pictures per batch.
        shard_size: Maximum number of pictures per file.
        say: Callback that receives the number of finished pictures and of all, at the start and after each batch.

    Returns:
        The number of pictures.

    Raises:
        ValueError: if there is no model or no picture, or `out` was written by another command.
    """
    card, target = read_card(model), pathlib.Path(out)
    settings = dataclasses.replace(Hyperparameters.from_dict(card["hyperparameters"]), **reading)
    collections = open_collections(settings)
    shards = plan_shards(collections, target, shard_size)
    target.mkdir(parents=True, exist_ok=True)
    _compare_or_write(target, describe(model, card, settings, collections) | {"shard_size": shard_size})
    missing = [shard for shard in shards if not shard.path.exists()]
    total = sum(map(len, collections))
    done = total - sum(map(len, missing))
    say(done, total)
    if not missing:
        return total
    for left in target.glob(".part-*"):  # of a process that was killed
        left.unlink()
    answer = Answerer(model)
    for shard in missing:
        tables = []
        for positions, pictures in _read_ahead(shard, batch_size):
            ids = [shard.span.offset + position for position in positions]
            paths, truths = shard.collection.paths, shard.collection.truths
            named = [paths[position] for position in positions], [truths[position] for position in positions]
            tables.append(make_table(ids, *named, answer(pictures)))
            done += len(positions)
            say(done, total)
        with file_written_aside(shard.path) as file:
            pq.write_table(pa.concat_tables(tables), file)
    return total


def plan_shards(collections: Sequence[Collection], target: pathlib.Path, shard_size: int) -> list[Shard]:
    """Distributes the pictures of collections over files."""
    return [
        Shard(target / f"part-{number:05d}.parquet", collections[span.collection], span)
        for number, span in enumerate(plan_spans(collections, shard_size))
    ]


def _compare_or_write(target: pathlib.Path, manifest: dict[str, Any]) -> None:
    path = target / MANIFEST
    if path.exists():
        begun = json.loads(path.read_text(encoding="utf-8"))
        differing = [words for name, words in _IDENTITY.items() if begun.get(name) != manifest[name]]
        if differing:
            raise ValueError(
                f"--out must be a new folder, or one that the same command began. Received: {target}, which differs in "
                f"{', '.join(differing)}"
            )
    elif any(not other.name.startswith(".") for other in target.iterdir()):
        raise ValueError(
            f"--out must be a new folder, or one that the same command began. Received: {target}, with other files"
        )
    else:
        write_atomically(path, json.dumps(manifest, indent=2) + "\n")


def _read_ahead(shard: Shard, batch_size: int) -> Iterator[tuple[range, list[bytes]]]:
    """Yields batches of positions and their pictures, and reads the next batch in the background."""
    span = shard.span
    batches = [range(first, min(first + batch_size, span.end)) for first in range(span.first, span.end, batch_size)]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(shard.collection.read, batches[0])
        for number, batch in enumerate(batches):
            now = ahead
            if number + 1 < len(batches):
                ahead = pool.submit(shard.collection.read, batches[number + 1])
            yield batch, now.result()


def _progress() -> Callable[[int, int], None]:
    """Returns a callback that shows a progress bar with speed and remaining time."""
    bars: list[tqdm.tqdm] = []

    def say(done: int, total: int) -> None:
        if not bars:  # `initial` keeps finished files out of the speed
            bars.append(tqdm.tqdm(total=total, initial=done, unit=" pictures", mininterval=0.5))
        bars[0].update(done - bars[0].n)
        if done == total:
            bars[0].close()

    return say


def _embed_into(out: str) -> None:
    """Embeds the pictures that the flags name into the folder `out`; writes the predictions."""
    model, predictions = str(model_flags.MODEL.value), _PREDICTIONS.value
    if predictions and not read_class_names(pathlib.Path(model)):
        raise ValueError(
            f"--predictions must come with a --model that has a memory of labelled images. Received: {model}"
        )
    if predictions and not pathlib.Path(predictions).parent.is_dir():
        raise ValueError(f"--predictions must be a file in an existing folder. Received: {predictions}")
    settings = {"batch_size": BATCH_SIZE.value, "shard_size": _SHARD_SIZE.value}
    count = embed(model, data_from_flags(), out, say=_progress(), **settings)
    unreadable = count - count_readable(out)
    if model_flags.OUT.value:
        print(summary(count, unreadable, out))
    if predictions:
        write_predictions(out, predictions)
        but = f"; {unreadable} of them could not be read" if unreadable else ""
        print(f"predictions of {counted(count, 'picture')} written to {predictions}{but}")


@quiet.program
def main(argv: list[str]) -> int:
    """Embeds the pictures that the flags name; returns the exit code."""
    del argv
    if not (model_flags.OUT.value or _PREDICTIONS.value):
        raise ValueError("--out must be a folder, or --predictions a file. Received: neither")
    with contextlib.ExitStack() as afterwards:
        _embed_into(str(model_flags.OUT.value or afterwards.enter_context(tempfile.TemporaryDirectory())))
    return 0


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
