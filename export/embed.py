"""Embeds a folder of pictures with an exported model into Parquet files; killed at any moment, it goes on.

python -m semppl.export.embed --model=served/digits/1 --pictures=pictures --out=embeddings
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from semppl.configs import quiet  # before TensorFlow

# isort: split

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from absl import app, flags

from semppl.configs import model_flags
from semppl.export.assets import MODEL_CARD
from semppl.trainers.checkpoints import write_atomically

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
_MANIFEST = "manifest.json"
_READERS = 8

_PICTURES = flags.DEFINE_string("pictures", None, "Folder of pictures, at any depth: .jpg, .jpeg, .png, .bmp.")
_PICTURES_AT_A_TIME = flags.DEFINE_integer(
    "pictures_at_a_time", 64, "Pictures that are embedded at a time.", lower_bound=1
)
_SHARD_SIZE = flags.DEFINE_integer("shard_size", 10_000, "Pictures in a file.", lower_bound=1)


def embed_folder(
    model: str | pathlib.Path,
    data: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    batch_size: int = 64,
    shard_size: int = 10_000,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Writes `part-00000.parquet` and so on, each when it is whole, in the order of the pictures' paths.

    The columns are id (position), path (in the folder), and the outputs of the model's `serving_default`, a row a picture.

    Args:
        model: folder of an exported model.
        data: folder of pictures.
        out: folder to write, new or of the same command.
        batch_size: pictures at a time.
        shard_size: pictures in a file.
        say: is told how many pictures are done, and of how many.

    Returns:
        How many pictures there are.

    Raises:
        ValueError: if there is no model or no picture, or `out` was begun by another command.
    """
    card = pathlib.Path(model) / "assets" / MODEL_CARD
    if not card.is_file():
        raise ValueError(f"--model must be the folder of an exported model. Received: {model}")
    folder, target = pathlib.Path(data), pathlib.Path(out)
    paths = list_pictures(folder)
    if not paths:
        raise ValueError(f"--pictures must be a folder with pictures, {', '.join(sorted(_SUFFIXES))}. Received: {data}")
    target.mkdir(parents=True, exist_ok=True)
    _compare_or_write(
        target,
        {
            "pictures": len(paths),
            "paths_sha256": hashlib.sha256("\n".join(paths).encode(errors="surrogateescape")).hexdigest(),
            "model_card_sha256": hashlib.sha256(card.read_bytes()).hexdigest(),
            "shard_size": shard_size,
        },
    )
    answer = tf.saved_model.load(str(model)).signatures["serving_default"]
    for number, first in enumerate(range(0, len(paths), shard_size)):
        part = target / f"part-{number:05d}.parquet"
        last = min(first + shard_size, len(paths))
        if not part.exists():
            batches = _read(folder, paths[first:last], batch_size)
            tables = []
            for some, files in batches:
                tables.append(_table(first, some, answer(bytes=tf.constant(files))))
                first += len(some)
                say(first, len(paths))
            _write_whole(part, pa.concat_tables(tables))
        say(last, len(paths))
    return len(paths)


def list_pictures(folder: pathlib.Path) -> list[str]:
    """Lists the pictures of a folder, at any depth: paths in it, sorted."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _compare_or_write(target: pathlib.Path, manifest: dict[str, Any]) -> None:
    path = target / _MANIFEST
    if path.exists():
        begun = json.loads(path.read_text())
        differing = sorted(name for name in manifest if begun.get(name) != manifest[name])
        if differing:
            raise ValueError(
                f"--out must be a new folder, or one that the same command began. Received: {target}, which differs in "
                f"{', '.join(differing)}"
            )
    else:
        write_atomically(path, json.dumps(manifest, indent=2) + "\n")


def _read(folder: pathlib.Path, paths: Sequence[str], batch_size: int) -> Iterator[tuple[Sequence[str], list[bytes]]]:
    """Yields paths and the bytes of their files, a batch ahead of whoever asks."""
    batches = [paths[first : first + batch_size] for first in range(0, len(paths), batch_size)]
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        ahead = [pool.submit(_bytes_of, folder / path) for path in batches[0]]
        for number, some in enumerate(batches):
            now, following = ahead, batches[number + 1] if number + 1 < len(batches) else []
            ahead = [pool.submit(_bytes_of, folder / path) for path in following]
            yield some, [reading.result() for reading in now]


def _bytes_of(path: pathlib.Path) -> bytes:
    """A file that has gone, or may not be read, is a broken picture."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _table(first: int, paths: Sequence[str], outputs: dict[str, tf.Tensor]) -> pa.Table:
    columns = {"id": pa.array(np.arange(first, first + len(paths))), "path": pa.array(paths)}
    for name, tensor in sorted(outputs.items()):
        values = tensor.numpy()
        if values.ndim == 2:
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        else:
            columns[name] = pa.array([v.decode() for v in values] if values.dtype == object else values)
    return pa.table(columns)


def _write_whole(part: pathlib.Path, table: pa.Table) -> None:
    aside = part.with_name(f".{part.name}")
    with aside.open("wb") as file:
        pq.write_table(table, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, part)


def _progress() -> Callable[[int, int], None]:
    """Tells on one line how far it is, and how fast."""
    start = time.monotonic()
    already: list[int] = []  # what was done before the first report is not its own speed

    def say(done: int, total: int) -> None:
        already.append(done)
        speed = (done - already[0]) / max(time.monotonic() - start, 1e-9)
        filled = 30 * done // total
        print(
            f"\r[{'#' * filled}{' ' * (30 - filled)}] {done}/{total}  {speed:.0f}/s ",
            end="",
            file=sys.stderr,
            flush=True,
        )

    return say


def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    quiet.hush()
    try:
        count = embed_folder(
            str(model_flags.MODEL.value),
            str(_PICTURES.value),
            str(model_flags.OUT.value),
            batch_size=_PICTURES_AT_A_TIME.value,
            shard_size=_SHARD_SIZE.value,
            say=_progress(),
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"\n{count} pictures embedded in {model_flags.OUT.value}")
    return 0


def run() -> None:
    """Is the console script."""
    flags.mark_flags_as_required(["model", "pictures", "out"])
    app.run(main)


if __name__ == "__main__":
    run()
