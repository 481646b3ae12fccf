"""Embeds many pictures with an exported model into Parquet files; killed at any moment, it goes on.

python -m semppl.export.embed --model=served/digits/1 --data=folder:pictures --out=embeddings
"""

import concurrent.futures
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

import pyarrow as pa
import pyarrow.parquet as pq
import tqdm
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections.collection import Collection, open_collections
from semppl.export.collections.embeddings import MANIFEST, count_readable, describe, summary
from semppl.export.collections.rows import Answerer, make_table
from semppl.export.model.assets import read_card
from semppl.programs import model_flags
from semppl.programs.batch_size_flag import BatchSize
from semppl.programs.data_flags import data_from_flags
from semppl.runs.files import file_written_aside, write_atomically

_IDENTITY = {
    "pictures": "the number of pictures",
    "pictures_sha256": "the names or labels of the pictures",
    "weights_sha256": "the model's weights",
    "model_card_sha256": "the model's card",
    "shard_size": "--shard_size",
}
"""By name in the manifest: what must be the same to go on."""

BATCH_SIZE = BatchSize(64, "Pictures per batch.")
_SHARD_SIZE = flags.DEFINE_integer("shard_size", 10_000, "Pictures in a file.", lower_bound=1)
for _name in ("model", "data", "out"):
    flags.declare_key_flag(_name)  # --help shows it


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file to write.

    Attributes:
        path: of it.
        collection: that its pictures are of.
        first: number, in the collection, of the first of them.
        last: of the one after the last of them.
        offset: id of the collection's first picture.
    """

    path: pathlib.Path
    collection: Collection
    first: int
    last: int
    offset: int


def embed(
    model: str | pathlib.Path,
    reading: dict[str, Any],
    out: str | pathlib.Path,
    *,
    batch_size: int = 64,
    shard_size: int = 10_000,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Writes `part-00000.parquet` and so on, each when it is whole, in the order of the data.

    The columns are id (position), path (or name), truth (the class that the data tell, by name), and the outputs of the model's
    `serving_default`, a row a picture; a file holds pictures of one source.

    Args:
        model: folder of an exported model.
        reading: `data`, and other settings of a run that say how it is read; by default they are those of the model's run.
        out: folder to write, new or of the same command.
        batch_size: pictures at a time.
        shard_size: pictures in a file.
        say: is told how many pictures are done, and of how many: those of whole files at first, then after each batch.

    Returns:
        How many pictures there are.

    Raises:
        ValueError: if there is no model or no picture, or `out` was begun by another command.
    """
    card, target = read_card(model), pathlib.Path(out)
    settings = dataclasses.replace(Hyperparameters.from_dict(card["hyperparameters"]), **reading)
    collections = open_collections(settings)
    shards = plan_shards(collections, target, shard_size)
    target.mkdir(parents=True, exist_ok=True)
    _compare_or_write(target, describe(model, card, settings, collections) | {"shard_size": shard_size})
    missing = [shard for shard in shards if not shard.path.exists()]
    total = sum(map(len, collections))
    done = total - sum(shard.last - shard.first for shard in missing)
    say(done, total)
    if not missing:
        return total
    for left in target.glob(".part-*"):  # of a process that was killed
        left.unlink()
    answer = Answerer(model)
    for shard in missing:
        tables = []
        for numbers, pictures in _read_ahead(shard, batch_size):
            ids = [shard.offset + number for number in numbers]
            paths, truths = shard.collection.paths, shard.collection.truths
            named = [paths[number] for number in numbers], [truths[number] for number in numbers]
            tables.append(make_table(ids, *named, answer(pictures)))
            done += len(numbers)
            say(done, total)
        with file_written_aside(shard.path) as file:
            pq.write_table(pa.concat_tables(tables), file)
    return total


def plan_shards(collections: Sequence[Collection], target: pathlib.Path, shard_size: int) -> list[Shard]:
    """Cuts collections into files."""
    shards: list[Shard] = []
    offset = 0
    for collection in collections:
        for first in range(0, len(collection), shard_size):
            path = target / f"part-{len(shards):05d}.parquet"
            shards.append(Shard(path, collection, first, min(first + shard_size, len(collection)), offset))
        offset += len(collection)
    return shards


def _compare_or_write(target: pathlib.Path, manifest: dict[str, Any]) -> None:
    path = target / MANIFEST
    if path.exists():
        begun = json.loads(path.read_text())
        differing = [told for name, told in _IDENTITY.items() if begun.get(name) != manifest[name]]
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
    """Yields numbers and their pictures, read a batch ahead of whoever asks."""
    firsts = range(shard.first, shard.last, batch_size)
    batches = [range(first, min(first + batch_size, shard.last)) for first in firsts]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(shard.collection.read, batches[0])
        for number, batch in enumerate(batches):
            now = ahead
            if number + 1 < len(batches):
                ahead = pool.submit(shard.collection.read, batches[number + 1])
            yield batch, now.result()


def _progress() -> Callable[[int, int], None]:
    """Tells on one line how far it is, how fast, and how long it will take."""
    bars: list[tqdm.tqdm] = []

    def say(done: int, total: int) -> None:
        if not bars:  # what was done before is not its own speed
            bars.append(tqdm.tqdm(total=total, initial=done, unit=" pictures", mininterval=0.5))
        bars[0].update(done - bars[0].n)
        if done == total:
            bars[0].close()

    return say


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    count = embed(
        str(model_flags.MODEL.value),
        data_from_flags(),
        str(model_flags.OUT.value),
        batch_size=BATCH_SIZE.value,
        shard_size=_SHARD_SIZE.value,
        say=_progress(),
    )
    out = str(model_flags.OUT.value)
    print(summary(count, count - count_readable(out), out))
    return 0


def run() -> None:
    """Is the console script."""
    flags.mark_flags_as_required(["model", "out"])
    BATCH_SIZE.define()
    quiet.run(main)


if __name__ == "__main__":
    run()
