"""The worker of every engine: from consecutive pictures to a Parquet file of what an exported model answers."""

import concurrent.futures
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator

import pyarrow as pa

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections.collection import Collection, Span, open_collections
from semppl.export.collections.embeddings import fingerprint
from semppl.export.collections.engines.output_folder import OutputFolder, Part
from semppl.export.collections.rows import Answerer, make_table


@dataclasses.dataclass(frozen=True)
class Job:
    """What every worker must know; hashable, and small enough to be sent with each task.

    Attributes:
        model: Folder of an exported model, as workers see it.
        settings: Hyper-parameters of its run, with `data` and the settings that say how to read it.
        pictures_sha256: Fingerprint of the pictures, from `embeddings.fingerprint`.
        out: Folder to write: a path that all workers see, or a URI of a file system of Arrow's.
        batch_size: Number of pictures per batch.
    """

    model: str
    settings: Hyperparameters
    pictures_sha256: str
    out: str
    batch_size: int


class Worker:
    """Embeds parts of a job, one after another or several at a time.

    Args:
        job: Job to work on; the model and the data are opened once.

    Raises:
        ValueError: if the data are not those of the job.
    """

    def __init__(self, job: Job) -> None:
        self._batch_size, self._folder = job.batch_size, OutputFolder(job.out)
        self._collections = open_collections(job.settings)
        if fingerprint(self._collections) != job.pictures_sha256:
            raise ValueError(
                "--data must hold the same pictures for every worker, unchanged since the job began. Received: other pictures"
            )
        self._answer = Answerer(job.model)

    def write(self, part: Part, say: Callable[[int], None] = lambda pictures: None) -> None:
        """Writes the file of a part.

        Args:
            part: Part to embed.
            say: Callback that receives the number of pictures of each batch.
        """
        tables = []
        for table in self._tables(part.span):
            tables.append(table)
            say(len(table))
        self._folder.write(part, pa.concat_tables(tables))

    def _tables(self, span: Span) -> Iterator[pa.Table]:
        """Yields the rows of a span, a batch at a time."""
        collection = self._collections[span.collection]
        for positions, pictures in _read_ahead(collection, span, self._batch_size):
            yield make_table(
                [span.offset + position for position in positions],
                collection.paths[positions.start : positions.stop],
                collection.truths[positions.start : positions.stop],
                self._answer(pictures),
            )


def _read_ahead(collection: Collection, span: Span, batch_size: int) -> Iterator[tuple[range, list[bytes]]]:
    """Yields batches of positions and their pictures, and reads the next batch in the background."""
    batches = [range(first, min(first + batch_size, span.end)) for first in range(span.first, span.end, batch_size)]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(collection.read, batches[0])
        for number, batch in enumerate(batches):
            now = ahead
            if number + 1 < len(batches):
                ahead = pool.submit(collection.read, batches[number + 1])
            yield batch, now.result()


_opening = threading.Lock()


def write_part(part: Part, job: Job) -> int:
    """Writes the file of a part by the worker of this process; returns the number of pictures.

    Engines call this function on each machine: the worker is made for the first part of a job, and kept.
    """
    with _opening:  # of the threads of a process, one opens the model
        worker = _worker(job)
    worker.write(part)
    return len(part)


@functools.lru_cache(maxsize=1)
def _worker(job: Job) -> Worker:
    return Worker(job)
